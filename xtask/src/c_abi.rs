//! `cargo xtask c-abi`: runs the conformance program of the C ABI against both libraries, alone or under a checker.
//! With `--installed`, it installs the library and uses it as C programs do.

use crate::workspace;
use anyhow::{Context as _, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct Args {
    /// Under memcheck: no error, no leak
    #[arg(long)]
    valgrind: bool,
    /// With the address sanitizer in the C code
    #[arg(long)]
    asan: bool,
    /// Install below target/, find it by pkg-config and `CMake`, run under memcheck, helgrind and the thread sanitizer,
    /// uninstall
    #[arg(long)]
    installed: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(workspace::root()?);
    let checker = match args {
        Args { valgrind: true, .. } => "valgrind",
        Args { asan: true, .. } => "asan",
        _ => "",
    };
    if args.valgrind || args.installed {
        need(&shell, "valgrind", "valgrind")?;
    }
    if args.asan && !cmd!(shell, "cc -print-file-name=libasan.so").quiet().read()?.starts_with('/') {
        bail!("the address sanitizer is missing: install gcc with its libasan (libgcc-*-dev on Debian)");
    }
    if args.installed {
        need(&shell, "cmake", "cmake")?;
        need(&shell, "pkg-config", "pkg-config")?;
        return Installed::new(shell)?.check();
    }
    cmd!(shell, "cargo test -p async-socket-ffi --test conformance -- --nocapture")
        .env("C_ABI_CHECKER", checker)
        .run()?;
    Ok(())
}

fn need(shell: &Shell, program: &str, package: &str) -> anyhow::Result<()> {
    if cmd!(shell, "{program} --version").quiet().ignore_stderr().read().is_err() {
        bail!("{program} is missing: install the package {package}");
    }
    Ok(())
}

/// An installation in a folder with blanks in its name, with the libraries in an unusual subfolder.
struct Installed {
    shell: Shell,
    scratch: PathBuf,
    prefix: PathBuf,
    sources: PathBuf,
}

const LIBDIR: &str = "lib/a b";

impl Installed {
    fn new(shell: Shell) -> anyhow::Result<Self> {
        let scratch = workspace::target_dir()?.join("c-abi installed");
        let sources = workspace::root()?.join("crates/async-socket-ffi/tests/c");
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
        Ok(Self { prefix: scratch.join("pre fix"), shell, scratch, sources })
    }

    fn check(&self) -> anyhow::Result<()> {
        let Self { shell, prefix, .. } = self;
        cmd!(shell, "cargo xtask install --prefix {prefix} --libdir {LIBDIR}").quiet().run()?;
        // An older version's file, which `--uninstall` has to find.
        let older = prefix.join(LIBDIR).join("libasync_socket.so.0.0.1");
        fs::write(&older, "")?;
        self.found_by_pkg_config()?;
        self.found_by_cmake()?;
        self.under_memcheck()?;
        self.under_helgrind()?;
        self.under_the_thread_sanitizer()?;
        let removed = cmd!(shell, "cargo xtask install --prefix {prefix} --libdir {LIBDIR} --uninstall").read()?;
        let named = format!("uninstall: removed {}", older.display());
        ensure!(removed.lines().any(|line| line == named), "not told of the older version:\n{removed}");
        let left = cmd!(shell, "find {prefix} -not -type d").read()?;
        ensure!(left.is_empty(), "left behind:\n{left}");
        println!("c-abi: what is installed is found, runs, passes the checkers, and is uninstalled");
        Ok(())
    }

    fn lib(&self) -> PathBuf {
        self.prefix.join(LIBDIR)
    }

    fn archive(&self) -> PathBuf {
        self.lib().join("libasync_socket.a")
    }

    /// Compiles as a shell script does, which has to `eval` paths with blanks.
    fn found_by_pkg_config(&self) -> anyhow::Result<()> {
        let Self { shell, scratch, sources, .. } = self;
        let (source, program) = (sources.join("library.c"), scratch.join("by-pkg-config"));
        let script = r#"eval cc -std=c99 '"$1"' -pthread $(pkg-config --cflags --libs async_socket) -o '"$2"'"#;
        let lib = self.lib();
        cmd!(shell, "sh -c {script} sh {source} {program}")
            .env("PKG_CONFIG_PATH", lib.join("pkgconfig"))
            .run()
            .context("pkg-config")?;
        cmd!(shell, "{program}").env("LD_LIBRARY_PATH", lib).run()?;
        Ok(())
    }

    fn found_by_cmake(&self) -> anyhow::Result<()> {
        let Self { shell, scratch, prefix, sources } = self;
        let (project, build) = (sources.join("cmake"), scratch.join("cmake build"));
        let search = format!("-Dasync_socket_DIR={}", self.lib().join("cmake/async_socket").display());
        cmd!(shell, "cmake -S {project} -B {build} -DCMAKE_PREFIX_PATH={prefix} {search}").run()?;
        cmd!(shell, "cmake --build {build}").run()?;
        for kind in ["static", "shared", "async_socket"] {
            let program = build.join(format!("library_{kind}"));
            cmd!(shell, "{program}").run()?;
        }
        Ok(())
    }

    fn compile(&self, source: &str, name: &str, flags: &[&str]) -> anyhow::Result<PathBuf> {
        let Self { shell, scratch, prefix, sources } = self;
        let (source, program) = (sources.join(source), scratch.join(name));
        let (include, archive) = (prefix.join("include"), self.archive());
        cmd!(shell, "cc -std=c99 -g -pthread {flags...} -I {include} {source} {archive} -o {program} -ldl -lm")
            .run()?;
        Ok(program)
    }

    /// Runs memcheck eight times, because a report of an uninitialised register came in only one run of three or four. Its
    /// threads take turns, because two threads that send without a pause can otherwise stop the thread that closes for minutes.
    fn under_memcheck(&self) -> anyhow::Result<()> {
        const RUNS: u32 = 8;
        let shell = &self.shell;
        let program = self.compile("conformance.c", "conformance", &[])?;
        for _ in 0..RUNS {
            cmd!(shell, "valgrind -q --fair-sched=yes --error-exitcode=9 --leak-check=full {program}")
                .env("C_ABI_SLOW", "1")
                .env("ASYNC_SOCKET_LOG", "off")
                .ignore_stdout()
                .run()
                .context("memcheck reports the library")?;
        }
        Ok(())
    }

    fn under_helgrind(&self) -> anyhow::Result<()> {
        let shell = &self.shell;
        let suppressions = self.suppressions("helgrind.supp");
        let program = self.compile("checked_echo.c", "echo", &[])?;
        let injected = self.compile("checked_echo.c", "echo-with-a-race", &["-DINJECTED_RACE"])?;
        let options = ["-q", "--tool=helgrind", "--error-exitcode=9"];
        let run =
            |program: &Path| cmd!(shell, "valgrind {options...} --suppressions={suppressions} {program}").output();
        run(&program).context("helgrind reports the library")?;
        ensure!(run(&injected).is_err(), "the suppressions hide a race of the program's own threads from helgrind");
        Ok(())
    }

    fn under_the_thread_sanitizer(&self) -> anyhow::Result<()> {
        let shell = &self.shell;
        let tsan = ["-fsanitize=thread"];
        // Quoted, because the sanitizer splits the variable's value at unquoted blanks.
        let suppressions = self.suppressions("thread-sanitizer.supp");
        let options = format!("suppressions='{}' exitcode=9", suppressions.display());
        let run = |program: &Path| cmd!(shell, "{program}").env("TSAN_OPTIONS", &options).output();
        let program = self.compile("checked_echo.c", "echo-tsan", &tsan)?;
        run(&program).context("the thread sanitizer reports the library")?;
        let injected = self.compile("checked_echo.c", "echo-with-a-race-tsan", &[tsan[0], "-DINJECTED_RACE"])?;
        ensure!(run(&injected).is_err(), "the suppressions hide a race of the program's own threads");
        Ok(())
    }

    fn suppressions(&self, name: &str) -> PathBuf {
        self.prefix.join("share/async-socket").join(name)
    }
}
