//! `kms completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use crate::arguments::Arguments;
use crate::failure::{Failure, Outcome};
use crate::open::Context;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kms completions bash > ~/.local/share/bash-completion/completions/kms
  kms completions zsh > ~/.zfunc/_kms")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "kms", &mut script);
        let script = String::from_utf8(script)
            .map_err(|_| Failure::bug("a completion script is no UTF-8 text"))?;
        let object = json!({ "shell": self.shell.to_string(), "script": script });
        context.output.answer(&object, &script)
    }
}
