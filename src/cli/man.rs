//! Man pages, made from the definition of the command line: one per command.
//!
//! clap knows names, options and descriptions. What stands after the options in `--help` becomes the
//! sections that a man page has besides (EXAMPLES, EXIT STATUS): [`Sections`] reads that text by its
//! layout, so that `--help` and the page can't differ.

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// A man page.
pub struct ManPage {
    /// The name of its file, such as `stampede-sale.1`.
    pub file: String,
    /// The page, as roff.
    pub text: String,
}

/// How an apostrophe is written, which clap_mangen's text refers to.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// The commands that take the options of the program itself.
const SAME_OPTIONS: [&str; 2] = ["serve", "check-config"];

/// The man pages of a program and of each of its commands.
pub(super) fn man_pages(program: Command) -> Vec<ManPage> {
    let mut program = program.disable_help_subcommand(true).term_width(0);
    program.build();
    let commands: Vec<&Command> = program.get_subcommands().filter(|c| !c.is_hide_set()).collect();
    let name = |command: &Command| format!("stampede-{}", command.get_name());
    let names: Vec<String> = commands.iter().map(|command| name(command)).collect();
    let mut pages = vec![page(&program, "stampede", &names)];
    for command in commands {
        let main = ["stampede".to_owned()];
        pages.push(page(command, &name(command), &main));
    }
    pages
}

fn page(command: &Command, name: &str, see_also: &[String]) -> ManPage {
    let version = env!("CARGO_PKG_VERSION");
    let title = format!(
        "{PREAMBLE}.TH {name} 1 \"\" \"stampede {version}\" \"Stampede Manual\"\n.nh\n.ad l\n"
    );
    let mut head = Roff::new();
    head.control("SH", ["NAME"]);
    let about = command.get_about().map(|about| about.to_string()).unwrap_or_default();
    head.text([roman(format!("{name} - {about}"))]);
    head.control("SH", ["SYNOPSIS"]);
    synopsis(&mut head, command);
    let after = command.get_after_long_help().map(|text| text.to_string()).unwrap_or_default();
    let sections = Sections::parse(&after);
    head.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut head, command);
    sections.introduction.iter().for_each(|line| line.render(&mut head));
    let mut text = title + &head.to_roff();
    if command.has_subcommands() {
        text += &subcommands(command);
    }
    if SAME_OPTIONS.contains(&command.get_name()) {
        let mut options = Roff::new();
        options.control("SH", ["OPTIONS"]);
        options.text([roman("See "), bold("stampede"), roman("(1).")]);
        text += &options.to_roff();
    } else {
        text += &options(command, "OPTIONS");
    }
    let mut tail = Roff::new();
    if !SAME_OPTIONS.contains(&command.get_name()) {
        sections.render(&mut tail);
    }
    tail.control("SH", ["SEE ALSO"]);
    let mut inlines: Vec<Inline> = Vec::new();
    for name in see_also {
        if !inlines.is_empty() {
            inlines.push(roman(", "));
        }
        inlines.extend([bold(name), roman("(1)")]);
    }
    tail.text(inlines);
    ManPage { file: format!("{name}.1"), text: text + &tail.to_roff() }
}

/// How the command is called: a line for each form.
fn synopsis(roff: &mut Roff, command: &Command) {
    let usage = command.clone().render_usage().to_string();
    for (number, form) in usage.lines().enumerate() {
        if number > 0 {
            roff.control("br", []);
        }
        let form = form.trim().trim_start_matches("Usage:").trim();
        let words = form.split_inclusive(' ').map(|word| match word.as_bytes()[0] {
            b'<' | b'[' => italic(word),
            _ => bold(word),
        });
        roff.text(words.collect::<Vec<_>>());
    }
}

/// What the command does.
fn paragraphs(roff: &mut Roff, command: &Command) {
    let Some(about) = command.get_long_about().or(command.get_about()) else { return };
    for line in about.to_string().lines() {
        match line.trim() {
            "" => _ = roff.control("PP", []),
            line => _ = roff.text([roman(sentence(line))]),
        }
    }
}

/// A line with a full stop, unless it ends with a mark already.
fn sentence(line: &str) -> String {
    let ends = line.ends_with(['.', ':', ';', ',', '?']);
    format!("{line}{}", if ends { "" } else { "." })
}

/// The options of a command, the groups of `--help` as subsections.
fn options(command: &Command, heading: &str) -> String {
    let mut text = Vec::new();
    // A Vec takes everything.
    let _ = Man::new(command.clone()).render_options_section(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut page = String::new();
    for line in text.lines() {
        let preamble = line.starts_with(".ie ") || line.starts_with(".el ");
        match line.strip_prefix(".SH ") {
            _ if preamble => {}
            Some("OPTIONS") if heading.is_empty() => {}
            Some("OPTIONS") => page += &format!(".SH {heading}\n"),
            Some(group) => page += &format!(".SS {}\n", group_title(group)),
            None => page += &format!("{line}\n"),
        }
    }
    page
}

/// `"CONTROL PORT"` as `"Control port"`.
fn group_title(group: &str) -> String {
    let mut title = group.to_lowercase();
    if let Some(first) = title.char_indices().find(|(_, c)| c.is_alphabetic()).map(|(at, _)| at) {
        title[first..=first].make_ascii_uppercase();
    }
    title
}

/// The subcommands, each with its own options.
fn subcommands(command: &Command) -> String {
    let mut text = String::new();
    let mut heading = Roff::new();
    heading.control("SH", ["COMMANDS"]);
    if command.get_name() == "stampede" {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            heading.control("TP", []);
            heading.text([bold(format!("stampede-{}", sub.get_name())), roman("(1)")]);
            let about = sub.get_about().map(|about| about.to_string()).unwrap_or_default();
            heading.text([roman(sentence(&about))]);
        }
        return heading.to_roff();
    }
    text += &heading.to_roff();
    for sub in command.get_subcommands() {
        let mut part = Roff::new();
        part.control("SS", [&format!("{} {}", command.get_name(), sub.get_name()) as &str]);
        synopsis(&mut part, sub);
        part.control("PP", []);
        paragraphs(&mut part, sub);
        text += &part.to_roff();
        // The options that every subcommand takes stand once, under OPTIONS.
        let shared = |id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
        let is_own = |arg: &&Arg| !shared(arg.get_id().as_str()) && arg.get_id() != "help";
        let mut own = Command::new("subcommand")
            .disable_help_flag(true)
            .args(sub.get_arguments().filter(is_own));
        own.build();
        if own.get_arguments().next().is_some() {
            text += &options(&own, "");
        }
    }
    text
}

/// The text after the options of `--help`: an introduction, then sections. A section begins with a
/// line such as `Examples:`.
struct Sections {
    introduction: Vec<Line>,
    sections: Vec<(String, Vec<Line>)>,
}

/// A line of a section.
enum Line {
    /// Nothing.
    Blank,
    /// Text, to be filled.
    Text(String),
    /// The first line of an entry: a term and the beginning of its description.
    Entry(String, String),
    /// Something to type, as it stands.
    Literal(String),
}

/// The sections in the order of man-pages(7). Others stand before EXAMPLES.
const ORDER: [&str; 4] = ["EXIT STATUS", "ENVIRONMENT", "FILES", "SIGNALS"];

impl Sections {
    fn parse(text: &str) -> Self {
        let mut found = Self { introduction: Vec::new(), sections: Vec::new() };
        let mut in_entry = false;
        for line in text.lines() {
            let heading = line.strip_suffix(':').filter(|line| !line.starts_with(' '));
            if let Some(heading) = heading {
                let title = match heading {
                    "Exit codes" => "EXIT STATUS".to_owned(),
                    heading => heading.to_uppercase(),
                };
                found.sections.push((title, Vec::new()));
                in_entry = false;
                continue;
            }
            let text = line.trim();
            let indent = line.len() - line.trim_start().len();
            let entry = text.split_once("  ").filter(|_| indent == 2);
            let parsed = match entry {
                _ if text.is_empty() => Line::Blank,
                Some((term, rest)) => Line::Entry(term.to_owned(), rest.trim().to_owned()),
                None if indent > 4 && !in_entry => Line::Literal(line[6.min(indent)..].to_owned()),
                None => Line::Text(text.to_owned()),
            };
            in_entry = matches!(parsed, Line::Entry(..)) || (in_entry && indent > 2);
            match found.sections.last_mut() {
                Some((_, lines)) => lines.push(parsed),
                None => found.introduction.push(parsed),
            }
        }
        let rank = |title: &str| match title {
            "EXAMPLES" => ORDER.len() + 1,
            title => ORDER.iter().position(|known| *known == title).unwrap_or(ORDER.len()),
        };
        found.sections.sort_by_key(|(title, _)| rank(title));
        found
    }

    fn render(&self, roff: &mut Roff) {
        for (title, lines) in &self.sections {
            roff.control("SH", [title.as_str()]);
            lines.iter().for_each(|line| line.render(roff));
        }
    }
}

impl Line {
    fn render(&self, roff: &mut Roff) {
        match self {
            Self::Blank => roff.control("PP", []),
            Self::Text(text) => {
                // The description of an example begins a paragraph.
                if text.ends_with(':') {
                    roff.control("PP", []);
                }
                roff.text([roman(text)])
            }
            Self::Entry(term, text) => {
                roff.control("TP", []);
                roff.text([bold(term)]);
                roff.text([roman(text)])
            }
            Self::Literal(text) => {
                roff.control("RS", ["4"]);
                roff.control("nf", []);
                roff.text([bold(text)]);
                roff.control("fi", []);
                roff.control("RE", [])
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::cli::man_pages;

    #[test]
    fn the_pages_under_packaging_are_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man");
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut pages = man_pages();
        files.sort();
        pages.sort_by(|a, b| a.file.cmp(&b.file));
        assert_eq!(files, pages.iter().map(|page| page.file.clone()).collect::<Vec<_>>());
        for page in pages {
            let kept = fs::read_to_string(folder.join(&page.file)).unwrap();
            let make = "run packaging/generate";
            assert!(kept == page.text, "{} is not current: {make}", page.file);
            assert!(kept.contains(".ds Aq"), "an apostrophe is a macro: {}", page.file);
        }
    }

    #[test]
    fn every_page_has_the_usual_sections() {
        for page in man_pages() {
            let has = |title: &str| page.text.contains(&format!(".SH {title}\n"));
            for title in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"SEE ALSO\""] {
                assert!(has(title), "{} has no {title}", page.file);
            }
            let has_all = !SAME_OPTIONS.iter().any(|name| page.file.contains(name));
            for title in ["EXAMPLES", "\"EXIT STATUS\""] {
                assert!(has(title) || !has_all, "{} has no {title}", page.file);
            }
        }
    }

    #[test]
    fn text_after_the_options_becomes_man_page_sections() {
        let text = "An introduction.\n\nExamples:\n  What sells?\n      stampede sale list\n\nExit codes:\n  \
                    0  done\n  1  failure: no server\n     answers";
        let mut roff = Roff::new();
        Sections::parse(text).render(&mut roff);
        let wanted = ".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\ndone\n.TP\n\\fB1\\fR\nfailure: no server\nanswers\n\
                      .SH EXAMPLES\nWhat sells?\n.RS 4\n.nf\n\\fBstampede sale list\\fR\n.fi\n.RE\n.PP\n";
        assert_eq!(roff.to_roff(), wanted);
    }
}
