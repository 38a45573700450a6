//! `cargo xtask srs-report-browser`: opens HTML reports in headless Chromium, wide and narrow, light and dark: of this
//! workspace, and of a generated project with 2,000 requirements. It uses the filters, the search and the keys, and saves
//! pictures for a person to look at.
//!
//! It needs no network and no driver. `driver.html` holds the page in a frame of the wanted width and uses it. Then it
//! writes the faults that it found into itself, and Chromium prints the result.

use crate::srs_report_bench::{LARGE, c_project};
use crate::workspace;
use anyhow::{Context as _, bail, ensure};
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const DRIVER: &str = include_str!("driver.html");
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A width of the page and a colour scheme: Chromium numbers dark 0 and light 1.
const VIEWS: [(u32, &str, u32); 4] = [(1280, "light", 1), (1280, "dark", 0), (400, "light", 1), (400, "dark", 0)];

/// Fails with the faults of the first view that has some.
pub(crate) fn run() -> anyhow::Result<()> {
    let Some(browser) = BROWSERS.into_iter().find(|it| Command::new(it).arg("--version").output().is_ok()) else {
        bail!("srs-report-browser needs Chromium: apt-get install chromium");
    };
    let folder = workspace::target_dir()?.join("srs-report/browser");
    look_at(browser, &workspace::root()?, &folder)?;
    let large = TempDir::new()?;
    c_project::generate(large.path(), LARGE)?;
    look_at(browser, large.path(), &folder.join("large"))
}

/// Makes the report of a project and uses it in every view.
fn look_at(browser: &str, root: &Path, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let mut report = Command::new(env::current_exe()?);
    report.args(["srs-report", "--format", "html", "--output"]).arg(folder.join("report.html")).arg("--root").arg(root);
    let status = report.status()?;
    ensure!(matches!(status.code(), Some(0 | 1)), "there is no report to look at");
    for (width, name, scheme) in VIEWS {
        let driver = DRIVER.replace("{{width}}", &width.to_string()).replace("{{scheme}}", name);
        let page = folder.join(format!("{width}-{name}.html"));
        fs::write(&page, driver)?;
        let picture = page.with_extension("png");
        let checks = view(browser, &page, &picture, scheme).with_context(|| format!("{width} pixels, {name}"))?;
        println!("srs-report-browser: {width} pixels, {name}: {checks}; {}", picture.display());
    }
    Ok(())
}

fn view(browser: &str, page: &Path, picture: &Path, scheme: u32) -> anyhow::Result<String> {
    let chromium = || {
        let mut command = Command::new(browser);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]);
        command.args(["--hide-scrollbars", "--allow-file-access-from-files", "--virtual-time-budget=20000"]);
        command.args(["--window-size=1300,1000", &format!("--blink-settings=preferredColorScheme={scheme}")]);
        command
    };
    let url = format!("file://{}", page.display());
    let dom = chromium().arg("--dump-dom").arg(&url).output()?;
    let dom = String::from_utf8_lossy(&dom.stdout).into_owned();
    let verdict = dom.split("<pre id=\"verdict\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let verdict = verdict.context("the page did not load")?;
    ensure!(verdict.starts_with("ok: "), "{verdict}");
    chromium().arg(format!("--screenshot={}", picture.display())).arg(&url).output()?;
    Ok(verdict.trim_start_matches("ok: ").to_owned())
}
