//! install.ps1 and the completions of memcli against the grammar of PowerShell.

use std::fs;

use anyhow::{Context, Result, ensure};
use tree_sitter::{Node, Parser};
use xtask::build::workspace_dir;

/// Where a script is not PowerShell: lines, from 1, and what stands there.
fn faults(script: &str) -> Result<Vec<(usize, String)>> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into())?;
    let tree = parser.parse(script, None).context("the parser gave up")?;
    let mut faults = Vec::new();
    let mut waiting: Vec<Node<'_>> = vec![tree.root_node()];
    while let Some(node) = waiting.pop() {
        if node.is_error() || node.is_missing() {
            let text = node.utf8_text(script.as_bytes())?;
            let first = text.lines().next().unwrap_or_default();
            faults.push((node.start_position().row + 1, format!("{}: {first}", node.kind())));
        } else if node.has_error() {
            let mut cursor = node.walk();
            waiting.extend(node.children(&mut cursor));
        }
    }
    Ok(faults)
}

#[test]
fn install_ps1_is_powershell() -> Result<()> {
    let script = fs::read_to_string(workspace_dir().join("install.ps1"))?;
    let faults = faults(&script)?;
    ensure!(faults.is_empty(), "install.ps1 is not PowerShell: {faults:#?}");
    // Windows PowerShell reads a file without a byte order mark in the encoding of the system.
    ensure!(script.is_ascii(), "install.ps1 is not ASCII");
    ensure!(
        script.ends_with("\nInvoke-Main\n"),
        "what was cut off must do nothing"
    );
    Ok(())
}

#[test]
fn the_completions_are_powershell() -> Result<()> {
    let script = "memcli/src/completion/scripts/memcli.ps1";
    let script = fs::read_to_string(workspace_dir().join(script))?;
    assert_eq!(faults(&script)?, []);
    ensure!(
        script.is_ascii(),
        "Windows PowerShell reads a profile in the encoding of the system"
    );
    Ok(())
}

#[test]
fn what_is_not_powershell_is_noticed() -> Result<()> {
    for (script, line) in [
        ("function Get-It {\n    return 1\n", 1),
        ("if ($a) {\n    Write-Host 'a'\n}}\n", 3),
        ("$a = @(1, 2\n", 1),
        ("try {\n    $a = 1\n}\n$b = \n", 1),
    ] {
        let faults = faults(script)?;
        ensure!(!faults.is_empty(), "not noticed, in line {line}: {script}");
    }
    assert_eq!(faults("if ($a) {\n    Write-Host 'a'\n}\n")?, []);
    Ok(())
}
