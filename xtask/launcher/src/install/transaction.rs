//! Files that appear together or not at all.
//!
//! The installer writes each file beside its place, under another name. When all are written, it moves them into place.
//! If anything fails, it puts the earlier files back and removes the new folders.

use anyhow::{Context as _, bail};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// A file to install.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Copy(PathBuf),
    Text(String),
    /// A symbolic link to this target.
    Link(String),
}

/// Writes all files. If this fails, everything is as it was.
pub(super) fn commit(files: &[File]) -> anyhow::Result<()> {
    let mut transaction = Transaction::default();
    for file in files {
        transaction
            .stage(file)
            .with_context(|| format!("cannot write {}; nothing is installed", file.path.display()))?;
    }
    for file in files {
        let placed = transaction.place(&file.path);
        placed.with_context(|| format!("cannot replace {}; nothing is installed", file.path.display()))?;
    }
    transaction.keep();
    Ok(())
}

/// Undoes its work when it is dropped, unless `keep` was called.
#[derive(Default)]
struct Transaction {
    folders: Vec<PathBuf>,
    /// The places of the files that have been written under another name.
    staged: Vec<PathBuf>,
    /// The files in their places, and whether each replaced an earlier file.
    placed: Vec<(PathBuf, bool)>,
}

impl Transaction {
    fn stage(&mut self, file: &File) -> anyhow::Result<()> {
        self.make_folder(file.path.parent().context("a file lies in a folder")?)?;
        if fs::symlink_metadata(&file.path).is_ok_and(|present| present.is_dir()) {
            bail!("it is a folder");
        }
        let new = beside(&file.path, "new");
        remove_if_there(&new)?;
        self.staged.push(file.path.clone());
        match &file.content {
            Content::Copy(from) => {
                fs::copy(from, &new).with_context(|| format!("from {}", from.display()))?;
            }
            Content::Text(text) => fs::write(&new, text)?,
            Content::Link(target) => return Ok(symlink(target, &new)?),
        }
        // Every user may read the installed files, whatever the umask is.
        Ok(fs::set_permissions(&new, Permissions::from_mode(0o644))?)
    }

    fn make_folder(&mut self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        if let Some(parent) = folder.parent() {
            self.make_folder(parent)?;
        }
        fs::create_dir(folder)?;
        self.folders.push(folder.to_owned());
        fs::set_permissions(folder, Permissions::from_mode(0o755))
    }

    /// Moves a new file into place. Programs that use the earlier file keep it, because only its name goes.
    fn place(&mut self, path: &Path) -> io::Result<()> {
        let (new, old) = (beside(path, "new"), beside(path, "old"));
        let had = fs::symlink_metadata(path).is_ok();
        if had {
            remove_if_there(&old)?;
            // Some file systems have no hard links.
            fs::hard_link(path, &old).or_else(|_| fs::rename(path, &old))?;
            self.placed.push((path.to_owned(), true));
        }
        fs::rename(new, path)?;
        if !had {
            self.placed.push((path.to_owned(), false));
        }
        Ok(())
    }

    fn keep(mut self) {
        for (path, had) in std::mem::take(&mut self.placed) {
            if had {
                let _ = fs::remove_file(beside(&path, "old"));
            }
        }
        self.staged.clear();
        self.folders.clear();
    }
}

impl Drop for Transaction {
    /// Ignores errors, because the cause that made the transaction fail may make this fail too.
    fn drop(&mut self) {
        for (path, had) in self.placed.iter().rev() {
            let _ = if *had { fs::rename(beside(path, "old"), path) } else { fs::remove_file(path) };
        }
        for path in &self.staged {
            let _ = remove_if_there(&beside(path, "new"));
            // A rename between two names of the same file leaves both names.
            let _ = remove_if_there(&beside(path, "old"));
        }
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// A hidden name in the same folder, so that it is on the same file system.
fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{what}"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn text(path: PathBuf, text: &str) -> File {
        File { path, content: Content::Text(text.to_owned()) }
    }

    /// Every path below a folder, with the content of the files.
    fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
        let mut all = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let is_folder = path.symlink_metadata().unwrap().is_dir();
                all.insert(path.clone(), if is_folder { String::new() } else { fs::read_to_string(&path).unwrap() });
                folders.extend(is_folder.then_some(path));
            }
        }
        all
    }

    #[test]
    fn files_and_links_appear_and_nothing_else_does() {
        let scratch = tempfile::tempdir().unwrap();
        let (file, link) = (scratch.path().join("a b/c/file"), scratch.path().join("a b/link"));
        fs::create_dir(scratch.path().join("a b")).unwrap();
        fs::write(scratch.path().join("a b/.file.new"), "left by an interrupted installation").unwrap();
        for content in ["old", "new"] {
            let files =
                [text(file.clone(), content), File { path: link.clone(), content: Content::Link("c/file".into()) }];
            commit(&files).unwrap();
            assert_eq!(fs::read_to_string(&link).unwrap(), content);
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(tree(&scratch.path().join("a b/c")).len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_everything_as_it_was() {
        let scratch = tempfile::tempdir().unwrap();
        let present = scratch.path().join("present");
        fs::write(&present, "old").unwrap();
        fs::write(scratch.path().join("file"), "no folder").unwrap();
        let before = tree(scratch.path());

        let absent = scratch.path().join("x/y/absent");
        let impossible = text(scratch.path().join("file/z"), "new");
        let error = commit(&[text(present, "new"), text(absent, "new"), impossible]).unwrap_err();

        assert!(format!("{error:#}").contains("nothing is installed"), "{error:#}");
        assert_eq!(tree(scratch.path()), before);
    }

    #[test]
    fn a_place_that_cannot_be_taken_gives_back_those_that_were() {
        let scratch = tempfile::tempdir().unwrap();
        let (present, absent) = (scratch.path().join("present"), scratch.path().join("x/absent"));
        fs::write(&present, "old").unwrap();
        let before = tree(scratch.path());

        let files = [text(present, "new"), text(absent, "new"), text(scratch.path().join("last"), "new")];
        let mut transaction = Transaction::default();
        files.iter().for_each(|file| transaction.stage(file).unwrap());
        fs::remove_file(scratch.path().join(".last.new")).unwrap();
        let placed: Vec<bool> = files.iter().map(|file| transaction.place(&file.path).is_ok()).collect();
        drop(transaction);

        assert_eq!(placed, [true, true, false]);
        assert_eq!(tree(scratch.path()), before);
    }
}
