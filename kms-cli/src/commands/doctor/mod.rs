//! `kms doctor`: what may go wrong with a store, before it does.

mod contents;
mod surroundings;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::view::count;

#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is changed, and a node may have the store open. Warnings are no failure; problems are (69).

Examples:
  kms doctor
  kms --key-file store.key doctor --json")]
pub(crate) struct Doctor {}

/// What was found at one place.
struct Finding {
    /// What was looked at.
    check: &'static str,
    level: Level,
    /// What is the case.
    found: String,
    /// What to do about it.
    advice: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    Warning,
    Problem,
}

impl Doctor {
    pub(super) fn run(self, context: &Context) -> Outcome {
        // Wrong options are wrong here too.
        context.unlock.place()?;
        let mut findings = surroundings::check(&context.path);
        if context.is_there() {
            contents::check(context, &mut findings);
        }
        let problems = findings.iter().filter(|finding| finding.level == Level::Problem).count();
        let object = json!({
            "checks": findings.iter().map(Finding::object).collect::<Vec<_>>(),
            "problems": problems,
        });
        let lines: Vec<_> = findings.iter().map(Finding::text).collect();
        context.output.answer(&object, lines.join("\n"))?;
        if problems == 0 {
            Ok(())
        } else {
            Err(Failure::unavailable(format_args!("{} found", count(problems, "problem"))))
        }
    }
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), advice: None }
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let (level, advice) = (Level::Warning, Some(advice.into()));
        Self { check, level, found: found.into(), advice }
    }

    fn problem(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let (level, advice) = (Level::Problem, Some(advice.into()));
        Self { check, level, found: found.into(), advice }
    }

    fn object(&self) -> Value {
        json!({
            "check": self.check,
            "level": self.level.as_str(),
            "found": self.found,
            "advice": self.advice,
        })
    }

    fn text(&self) -> String {
        let style = self.level.style();
        let Self { check, level, found, advice } = self;
        let advice = advice.as_ref().map_or(String::new(), |advice| format!(" – {advice}"));
        format!("{style}{:<8}{style:#} {check}: {found}{advice}", level.as_str())
    }
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Ok => AnsiColor::Green.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default().bold(),
            Self::Problem => AnsiColor::Red.on_default().bold(),
        }
    }
}
