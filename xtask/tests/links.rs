//! Every link in the project's pages to another page, file or heading leads somewhere.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use xtask::build::workspace_dir;

/// Folders whose pages are not the project's own.
const FOREIGN: [&str; 4] = [".git", "target", "node_modules", "corpus"];

#[test]
fn every_link_leads_somewhere() {
    let pages = pages(&workspace_dir()).unwrap();
    assert!(pages.len() > 10, "{pages:?}");
    let mut links = 0;
    let mut broken = Vec::new();
    for page in &pages {
        for link in links_in(&prose(&fs::read_to_string(page).unwrap())) {
            links += 1;
            if !leads_somewhere(page, &link).unwrap() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(links > 50, "{links} links");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn broken_links_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.md");
    fs::write(
        &page,
        "# Top\n## It's `one`, two: three_four\n```sh\n# none [x](y)\n```\n",
    )
    .unwrap();
    for link in [
        "",
        "#top",
        "page.md#its-one-two-three_four",
        "https://example.org/x",
    ] {
        assert!(leads_somewhere(&page, link).unwrap(), "{link}");
    }
    for link in ["other.md", "#none-xy", "page.md#bottom"] {
        assert!(!leads_somewhere(&page, link).unwrap(), "{link}");
    }
    let found = links_in("[a](b.md) and ![c](d.png), [e](f.md#g) `[h](i)`, x[0](1");
    assert_eq!(found, ["b.md", "d.png", "f.md#g"]);
}

/// All pages below a folder.
fn pages(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let kind = entry.file_type()?;
        if kind.is_dir() && !FOREIGN.iter().any(|foreign| name == *foreign) {
            pages.extend(self::pages(&path)?);
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "md") {
            pages.push(path);
        }
    }
    Ok(pages)
}

/// A page without its blocks of code.
fn prose(page: &str) -> String {
    let mut inside = false;
    let mut prose = String::new();
    for line in page.lines() {
        let is_fence = line.trim_start().starts_with("```");
        if is_fence {
            inside = !inside;
        } else if !inside {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// Where the links of a page lead, those in code left out.
fn links_in(prose: &str) -> Vec<String> {
    // Every second part stands between two backticks.
    let text: String = prose.split('`').step_by(2).collect();
    let after = text.split("](").skip(1);
    after
        .filter_map(|rest| rest.split_once(')'))
        .map(|(link, _)| link.to_owned())
        .collect()
}

fn leads_somewhere(page: &Path, link: &str) -> io::Result<bool> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(true);
    }
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let file = if file.is_empty() {
        page.to_owned()
    } else {
        page.parent().expect("a page lies in a folder").join(file)
    };
    if !file.exists() {
        return Ok(false);
    }
    // A place in anything but a page, such as a line of code, is not looked for.
    let is_page = file.extension().is_some_and(|end| end == "md");
    Ok(heading.is_empty() || !is_page || headings(&file)?.contains(heading))
}

/// The names under which GitHub shows the headings of a page.
fn headings(page: &Path) -> io::Result<HashSet<String>> {
    let text = prose(&fs::read_to_string(page)?);
    let titles = text.lines().filter(|line| line.starts_with('#'));
    Ok(titles
        .map(|title| name_of(title.trim_start_matches('#').trim()))
        .collect())
}

fn name_of(title: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    title
        .to_lowercase()
        .chars()
        .filter(kept)
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
