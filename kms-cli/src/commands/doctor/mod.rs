//! `kms doctor`: what may go wrong with a store, before it does.

mod backends;
mod contents;
mod settings;
mod surroundings;
mod throw_away;

use std::borrow::Cow;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::view::count;

#[derive(Debug, Args)]
#[command(after_help = "\
Without --settings, the store is looked at. Nothing is changed, and a node may have it open.
With --settings, every backend of a node's settings is asked for what a node needs of it. Where keys are
made elsewhere, a throw-away key is made, used, changed and removed, unless --no-create forbids it. A store that the
node has open can't be looked at that way.
Warnings are no failure; problems are (69).

Examples:
  kms doctor
  kms --key-file store.key doctor --json
  kms doctor --settings node.yaml --no-create")]
pub(crate) struct Doctor {
    /// A node's settings file: looks at its backends instead of the store
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Make no key, not even for a moment
    #[arg(long, requires = "settings")]
    no_create: bool,
}

/// What was found at one place.
struct Finding {
    /// What was looked at.
    check: Cow<'static, str>,
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
    /// The environment variables with secrets that the settings' backends name. Settings that can't be
    /// read name none, and are refused later.
    pub(super) fn env_names(&self) -> Vec<String> {
        let settings = self.settings.as_deref().map(settings::read);
        settings.and_then(Result::ok).map_or_else(Vec::new, |settings| settings.env_names())
    }

    pub(super) fn run(self, context: &Context) -> Outcome {
        // Wrong options are wrong here too.
        context.unlock.place()?;
        let findings = match &self.settings {
            Some(file) => backends::check(file, self.no_create)?,
            None => {
                let mut findings = surroundings::check(&context.path);
                if context.is_there() {
                    contents::check(context, &mut findings);
                }
                findings
            }
        };
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
    fn ok(check: impl Into<Cow<'static, str>>, found: impl Into<String>) -> Self {
        Self { check: check.into(), level: Level::Ok, found: found.into(), advice: None }
    }

    fn warning(
        check: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (level, advice) = (Level::Warning, Some(advice.into()));
        Self { check: check.into(), level, found: found.into(), advice }
    }

    fn problem(
        check: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (level, advice) = (Level::Problem, Some(advice.into()));
        Self { check: check.into(), level, found: found.into(), advice }
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
