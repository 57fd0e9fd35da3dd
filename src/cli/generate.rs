//! `certs completions` and `certs man-pages`

use std::path::Path;

use clap::CommandFactory;

use crate::disk::{Access, Dir};

use super::{Cli, Exit, complain};

/// `certs completions SHELL`
pub(super) fn completions(shell: clap_complete::Shell) -> Exit {
    clap_complete::generate(shell, &mut Cli::command(), "certs", &mut std::io::stdout());
    Exit::Ok
}

/// `certs man-pages DIRECTORY`
pub(super) fn man_pages(directory: &Path) -> Exit {
    let dir = match Dir::open(directory) {
        Ok(dir) => dir,
        Err(error) => {
            complain(&error);
            return Exit::Failed;
        }
    };
    let mut root = Cli::command();
    root.build();
    let pages = std::iter::once(("certs".to_owned(), root.clone())).chain(
        root.get_subcommands()
            .filter(|command| command.get_name() != "help")
            .map(|command| (format!("certs-{}", command.get_name()), command.clone())),
    );
    for (name, command) in pages {
        let page = clap_mangen::Man::new(command.display_name(name.clone()))
            .title(name.to_uppercase())
            .section("8");
        let mut text = Vec::new();
        let rendered = page.render(&mut text);
        if let Err(error) = rendered {
            complain(&error);
            return Exit::Failed;
        }
        if let Err(error) = dir.replace(&format!("{name}.8"), &text, &Access::mode(0o644)) {
            complain(&error);
            return Exit::Failed;
        }
    }
    Exit::Ok
}
