//! The place of each file.

use anyhow::{Context as _, bail};
use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::SONAME;

/// The suppression files: their names in the package and their installed names.
const SUPPRESSIONS: [&str; 2] = ["helgrind.supp", "thread-sanitizer.supp"];

/// The prefix and what lies below it.
#[derive(Debug)]
pub(super) struct Place {
    prefix: PathBuf,
    libdir: PathBuf,
    /// Prefixes the paths that the installer writes to, but not the paths inside the files.
    destdir: Option<PathBuf>,
}

impl Place {
    pub(super) fn new(prefix: &Path, libdir: Option<&Path>, destdir: Option<&Path>) -> anyhow::Result<Self> {
        let prefix = std::path::absolute(prefix).context("--prefix")?;
        // `join` returns an absolute path unchanged.
        let libdir = prefix.join(libdir.unwrap_or(Path::new("lib")));
        if libdir.components().any(|part| part == Component::ParentDir) {
            bail!("--libdir: {} goes up with `..`", libdir.display());
        }
        for path in [&prefix, &libdir] {
            let text = path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?;
            // pkg-config and CMake would read these characters as a quote, a variable, a comment or the end of an item.
            if let Some(bad) = text.chars().find(|c| c.is_control() || "\"\\$`#;".contains(*c)) {
                bail!("{text}: a path with {bad:?} cannot be written into a pkg-config file");
            }
        }
        Ok(Self { prefix, libdir, destdir: destdir.map(std::path::absolute).transpose().context("DESTDIR")? })
    }

    pub(super) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The folder in which programs will find the libraries.
    pub(super) fn libdir(&self) -> &Path {
        &self.libdir
    }

    /// The same folder, relative to the prefix. `None` if it is outside.
    pub(super) fn libdir_in_prefix(&self) -> Option<&Path> {
        self.libdir.strip_prefix(&self.prefix).ok()
    }

    pub(super) fn is_staged(&self) -> bool {
        self.destdir.is_some()
    }

    fn written(&self, path: PathBuf) -> PathBuf {
        match (&self.destdir, path.strip_prefix("/")) {
            (Some(destdir), Ok(below)) => destdir.join(below),
            _ => path,
        }
    }

    fn in_prefix(&self, path: &str) -> PathBuf {
        self.written(self.prefix.join(path))
    }

    fn in_libdir(&self, path: &str) -> PathBuf {
        self.written(self.libdir.join(path))
    }

    pub(super) fn header(&self) -> PathBuf {
        self.in_prefix("include/async_socket.h")
    }

    pub(super) fn archive(&self) -> PathBuf {
        self.in_libdir("libasync_socket.a")
    }

    pub(super) fn shared(&self, version: &str) -> PathBuf {
        self.in_libdir(&shared_name(version))
    }

    /// The name for the dynamic linker, and the name for `-lasync_socket`.
    pub(super) fn links(&self) -> impl Iterator<Item = PathBuf> + use<> {
        [SONAME, "libasync_socket.so"].map(|name| self.in_libdir(name)).into_iter()
    }

    pub(super) fn pkg_config(&self) -> PathBuf {
        self.in_libdir("pkgconfig/async_socket.pc")
    }

    pub(super) fn cmake_config(&self) -> PathBuf {
        self.in_libdir("cmake/async_socket/async_socket-config.cmake")
    }

    pub(super) fn cmake_version(&self) -> PathBuf {
        self.in_libdir("cmake/async_socket/async_socket-config-version.cmake")
    }

    /// The suppression files: their names in the package, and their places.
    pub(super) fn suppressions(&self) -> impl Iterator<Item = (&'static str, PathBuf)> + use<> {
        SUPPRESSIONS.map(|name| (name, self.in_prefix(&format!("share/async-socket/{name}")))).into_iter()
    }

    /// Every file that an installation of this version may have.
    pub(super) fn installed(&self, version: &str) -> impl Iterator<Item = PathBuf> + use<> {
        let files = [self.header(), self.archive(), self.shared(version)].into_iter().chain(self.links());
        let files = files.chain(self.suppressions().map(|(_, path)| path));
        files.chain([self.cmake_version(), self.cmake_config(), self.pkg_config()])
    }

    /// The shared libraries of other versions that have the same name for the dynamic linker.
    pub(super) fn older_versions(&self, version: &str) -> anyhow::Result<Vec<PathBuf>> {
        let folder = self.written(self.libdir.clone());
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if is_version_of_ours(name) && name != shared_name(version) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// The folders that belong to this library alone.
    pub(super) fn own_folders(&self) -> [PathBuf; 2] {
        [self.in_libdir("cmake/async_socket"), self.in_prefix("share/async-socket")]
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, libdir) = (self.written(self.prefix.clone()), self.written(self.libdir.clone()));
        write!(f, "{} or {}", prefix.display(), libdir.display())
    }
}

pub(super) fn shared_name(version: &str) -> String {
    format!("libasync_socket.so.{version}")
}

/// Whether a file's name is the dynamic linker's name followed by two more numbers.
fn is_version_of_ours(name: &str) -> bool {
    let rest = name.strip_prefix(SONAME).and_then(|rest| rest.strip_prefix('.'));
    rest.is_some_and(|rest| {
        let mut numbers = rest.split('.');
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        numbers.by_ref().take(2).filter(|part| is_number(part)).count() == 2 && numbers.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn destdir_is_put_in_front_of_what_is_written_only() {
        let place = Place::new(Path::new("/usr"), Some(Path::new("lib64")), Some(Path::new("/tmp/stage"))).unwrap();
        assert_eq!(place.archive(), Path::new("/tmp/stage/usr/lib64/libasync_socket.a"));
        assert_eq!(place.header(), Path::new("/tmp/stage/usr/include/async_socket.h"));
        assert_eq!(place.prefix(), Path::new("/usr"));
        assert_eq!(place.libdir(), Path::new("/usr/lib64"));
    }

    #[test]
    fn an_absolute_libdir_may_lie_outside_the_prefix() {
        let place = Place::new(Path::new("/opt/x"), Some(Path::new("/usr/lib64")), None).unwrap();
        assert_eq!(place.archive(), Path::new("/usr/lib64/libasync_socket.a"));
        assert_eq!(place.libdir_in_prefix(), None);
    }

    #[rstest]
    fn a_prefix_that_pkg_config_would_misread_is_refused(#[values('"', '\\', '$', '`', '#', ';', '\n')] bad: char) {
        let error = Place::new(Path::new(&format!("/opt/a{bad}b")), None, None).unwrap_err();
        assert!(error.to_string().contains("pkg-config"), "{error}");
    }

    #[rstest]
    #[case("libasync_socket.so.0.0.9", true)]
    #[case("libasync_socket.so.0.12.10", true)]
    #[case("libasync_socket.so.0", false)]
    #[case("libasync_socket.so.0.1", false)]
    #[case("libasync_socket.so.0.1.0.bak", false)]
    #[case("libasync_socket.so.0.1.x", false)]
    #[case("libasync_socket.so.1.0.0", false)]
    #[case("libasync_socket2.so.0.1.0", false)]
    fn only_versions_of_this_library_are_taken_for_such(#[case] name: &str, #[case] ours: bool) {
        assert_eq!(is_version_of_ours(name), ours);
    }
}
