//! Holds the list of attacks in `docs/protocol/peer.md` against the tests: what it names must exist.

use std::fs;
use std::path::{Path, PathBuf};

/// Where tests of the peer protocol lie, from this crate.
const FOLDERS: [&str; 4] = [
    "src/peer",
    "../memnode/src/peer",
    "../memnode/tests",
    "../xtask/tests",
];

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *all += &fs::read_to_string(&path).unwrap();
        }
    }
}

/// What stands between backticks in a cell.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn each_attack_names_tests_and_models_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let specification = fs::read_to_string(root.join("../docs/protocol/peer.md")).unwrap();
    let (_, section) = specification.split_once("\n## 6. Attacks considered\n").unwrap();
    let (section, _) = section.split_once("\n## 7.").unwrap();
    let mut code = String::new();
    FOLDERS
        .iter()
        .for_each(|folder| sources(&root.join(folder), &mut code));

    let rows = section.lines().filter(|line| line.starts_with("| "));
    let mut tests = 0;
    for row in rows.skip(1) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [attack, _, shown_by] = cells[..] else {
            panic!("a row has three cells: {row}");
        };
        assert!(!shown_by.trim().is_empty(), "{attack} has no test");
        for name in names(shown_by) {
            let is_test = code.contains(&format!("fn {name}("));
            let is_model = root.join(format!("../docs/protocol/models/{name}.vp")).exists();
            let is_target = root.join(format!("../fuzz/fuzz_targets/{name}.rs")).exists();
            assert!(is_test || is_model || is_target, "{attack}: there is no {name}");
            tests += usize::from(is_test);
        }
    }
    assert!(
        tests > 40,
        "only {tests} tests were found: is the table read as it is written?"
    );
}
