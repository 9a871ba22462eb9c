//! `doctor`: why two machines do not find or reach each other, and what to do.

use memproto::control::{Check, CheckResult, CheckSubject, DoctorReport};

use crate::cli::DoctorArgs;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{printable, printable_lines};
use crate::progress::Spinner;
use crate::table;

/// Looks, and shows what was found. Fails where something keeps nodes apart.
pub(super) async fn doctor(args: DoctorArgs, context: &Context) -> Outcome {
    let report = match context.connect().await {
        Ok(cloud) => {
            let _spinner = Spinner::new(context.output, "looking for what keeps nodes apart");
            cloud.doctor(args.target.as_deref()).await?
        }
        Err(Failure::NotRunning(text)) => not_running(&text),
        Err(failure) => return Err(failure),
    };
    context.output.show(&report, || show(&report, table::width()))?;
    match report.is_healthy() {
        true => Ok(()),
        false => Err(Failure::Other(summary(&report))),
    }
}

/// Without a node there is one thing to say.
fn not_running(text: &str) -> DoctorReport {
    let (found, advice) = text
        .split_once("; ")
        .unwrap_or((text, "start it with: memcli node start"));
    DoctorReport {
        checks: vec![Check {
            subject: CheckSubject::Node,
            about: None,
            result: CheckResult::Problem,
            found: found.to_owned(),
            advice: Some(advice.to_owned()),
        }],
    }
}

fn show(report: &DoctorReport, width: u16) -> String {
    let rows = report.checks.iter().map(|check| {
        let found = match &check.about {
            Some(about) if !check.found.contains(about.as_str()) => format!("{about}: {}", check.found),
            _ => check.found.clone(),
        };
        let advice = check
            .advice
            .as_ref()
            .map(|advice| format!("\n-> {}", printable(advice)))
            .unwrap_or_default();
        [
            result_as_word(check.result).to_owned(),
            check.subject.as_words().to_owned(),
            format!("{}{advice}", printable_lines(&found)),
        ]
    });
    table::table(["RESULT", "CHECK", "FOUND"], rows.collect(), width)
}

const fn result_as_word(result: CheckResult) -> &'static str {
    match result {
        CheckResult::Ok => "ok",
        CheckResult::Warning => "warning",
        CheckResult::Problem => "PROBLEM",
    }
}

fn summary(report: &DoctorReport) -> String {
    let problems = report
        .checks
        .iter()
        .filter(|check| check.result == CheckResult::Problem)
        .count();
    match problems {
        1 => "one problem was found".to_owned(),
        problems => format!("{problems} problems were found"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_a_line_with_what_to_do_below() {
        let check = |result, subject, about: Option<&str>, found: &str, advice: Option<&str>| Check {
            subject,
            about: about.map(str::to_owned),
            result,
            found: found.to_owned(),
            advice: advice.map(str::to_owned),
        };
        let report = DoctorReport {
            checks: vec![
                check(
                    CheckResult::Ok,
                    CheckSubject::Interfaces,
                    None,
                    "discovery uses eth0",
                    None,
                ),
                check(
                    CheckResult::Problem,
                    CheckSubject::Reach,
                    Some("NodeB\u{1b}"),
                    "it refuses",
                    Some("memcli node start"),
                ),
            ],
        };
        assert_eq!(
            show(&report, 80),
            "\
RESULT   CHECK       FOUND
ok       interfaces  discovery uses eth0
PROBLEM  reach       NodeB\\u{1b}: it refuses
                     -> memcli node start"
        );
        assert!(!report.is_healthy());
        assert_eq!(summary(&report), "one problem was found");
    }

    #[test]
    fn a_node_that_does_not_run_is_the_one_problem() {
        let report =
            not_running("the node is not running (nothing answers at /s); start it with: memcli node start");
        let [check] = &report.checks[..] else {
            panic!("{report:?}")
        };
        assert_eq!(check.found, "the node is not running (nothing answers at /s)");
        assert_eq!(check.advice.as_deref(), Some("start it with: memcli node start"));
        assert!(!report.is_healthy());
    }
}
