//! What a push leaves out, by the rules of .gitignore files.

use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::exit::{Failure, Outcome, reason};
use crate::tree::quoted;

/// What to leave out.
#[derive(Debug)]
pub(crate) struct Exclude(Gitignore);

impl Exclude {
    /// The rules in these files, one a line, and then these; the last one that matches decides.
    ///
    /// # Errors
    /// `Usage` where a rule is no glob, `Other` where a file cannot be read.
    pub(crate) fn new(files: &[PathBuf], rules: &[String]) -> Outcome<Self> {
        // Paths are told from the root of the tree on, so that a rule that begins with `/` means that.
        let mut builder = GitignoreBuilder::new("");
        for file in files {
            if let Some(error) = builder.add(file) {
                return Err(match error.io_error() {
                    Some(error) => Failure::Other(format!("cannot read {}: {}", quoted(file), reason(error))),
                    None => Failure::Usage(format!("a rule of {} is not valid: {error}", quoted(file))),
                });
            }
        }
        for rule in rules {
            builder
                .add_line(None, rule)
                .map_err(|error| Failure::Usage(format!("--exclude '{rule}' is not valid: {error}")))?;
        }
        let built = builder.build();
        built
            .map(Self)
            .map_err(|error| Failure::Usage(format!("the rules of --exclude are not valid: {error}")))
    }

    /// Whether a path of the tree is left out, and with it all that it has in it.
    pub(crate) fn matches(&self, path: &Path, is_folder: bool) -> bool {
        self.0.matched(path, is_folder).is_ignore()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn excluded(rules: &[&str], path: &str, is_folder: bool) -> bool {
        let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let exclude = Exclude::new(&[], &rules).unwrap();
        exclude.matches(Path::new(path), is_folder)
    }

    #[test]
    fn rules_are_those_of_gitignore() {
        for (rules, path, is_folder, is_excluded) in [
            (&["*.o"][..], "main.o", false, true),
            (&["*.o"], "src/deep/main.o", false, true),
            (&["/target"], "target", true, true),
            (&["/target"], "crate/target", true, false),
            (&["target/"], "crate/target", true, true),
            (&["target/"], "target", false, false),
            (&["doc/*.txt"], "doc/a.txt", false, true),
            (&["doc/*.txt"], "doc/sub/a.txt", false, false),
            (&["**/cache/*"], "a/cache/x", false, true),
            (&["*.log", "!keep.log"], "keep.log", false, false),
            (&["!keep.log", "*.log"], "keep.log", false, true),
            (&["# no rule", ""], "# no rule", false, false),
            (&["a?c"], "abc", false, true),
            (&["[ab]"], "b", false, true),
            (&[], "anything", false, false),
        ] {
            assert_eq!(excluded(rules, path, is_folder), is_excluded, "{rules:?} {path}");
        }
    }

    #[test]
    fn a_rule_that_is_no_glob_is_wrong_usage() {
        let error = Exclude::new(&[], &["[z-a]".to_owned()]).unwrap_err();
        assert!(
            matches!(&error, Failure::Usage(text) if text.contains("'[z-a]'")),
            "{error:?}"
        );
    }

    #[test]
    fn rules_of_a_file_come_before_those_of_the_command_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules");
        fs::write(&file, "*.log\n# a comment\n/build/\n").unwrap();
        let exclude = Exclude::new(&[file], &["!keep.log".to_owned()]).unwrap();
        assert!(exclude.matches(Path::new("a.log"), false));
        assert!(exclude.matches(Path::new("build"), true));
        assert!(!exclude.matches(Path::new("keep.log"), false));
        let error = Exclude::new(&[folder.path().join("none")], &[]).unwrap_err();
        assert!(error.to_string().contains("/none': No such file"), "{error}");
    }

    #[test]
    fn names_of_any_bytes_are_matched() {
        let exclude = Exclude::new(&[], &["*.o".to_owned()]).unwrap();
        assert!(exclude.matches(crate::tree::as_path(b"\xff.o"), false));
        assert!(!exclude.matches(crate::tree::as_path(b"\xff.c"), false));
    }
}
