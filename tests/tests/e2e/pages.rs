//! The pages for people: the commands that they tell one to type exist, and so do the files that they lead to.

use std::path::{Path, PathBuf};

use lunapark_tests::harness::Workplace;

use super::help::{commands, help};

/// The README, the guide and the other pages beside the sources, with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let in_folder = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).expect("a folder").map(|entry| entry.expect("entry").path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect::<Vec<_>>()
    };
    let pages = ["", "guide", "benches", "operators/models", "schemas/examples"].into_iter().flat_map(in_folder);
    pages.map(|path| (path.clone(), std::fs::read_to_string(path).expect("UTF-8"))).collect()
}

/// Each `lunapark …` in a block of shell or between backticks, word by word.
fn typed(page: &str) -> Vec<Vec<&str>> {
    let shell = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = shell.flat_map(str::lines).filter_map(|line| line.split(" #").next());
    let quoted = page.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let typed = lines.chain(quoted).flat_map(|line| line.split(['|', ';']).flat_map(|part| part.split("&&")));
    let words = typed.map(|command| command.split_whitespace().skip_while(|word| word.contains('=')));
    words.map(Iterator::collect).filter(|words: &Vec<&str>| words.len() > 1 && words[0] == "lunapark").collect()
}

#[test]
fn every_command_on_a_page_exists_with_its_options() {
    let (place, mut seen) = (Workplace::embedded(), 0);
    // ARCHITECTURE.md names what `--help` hides, too.
    for (page, text) in pages().into_iter().filter(|(page, _)| !page.ends_with("ARCHITECTURE.md")) {
        for words in typed(&text) {
            let (mut command, mut told) = (Vec::new(), help(&place, &[]));
            let names = words[1..].iter().take_while(|word| {
                let known = commands(&told).iter().any(|name| name == *word);
                if known {
                    command.push((**word).to_owned());
                    told = help(&place, &command);
                }
                known
            });
            let rest = &words[1 + names.count()..];
            assert!(!command.is_empty(), "{}: there is no `{}`", page.display(), words.join(" "));
            for option in rest.iter().filter(|word| word.starts_with("--")) {
                let name = option.split('=').next().unwrap_or(option);
                assert!(told.contains(name), "{}: `{}` takes no {name}", page.display(), words.join(" "));
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} commands were found");
}

#[test]
fn every_link_of_a_page_leads_to_a_file() {
    let mut seen = 0;
    for (page, text) in pages() {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            let path = page.parent().expect("a folder").join(target);
            assert!(path.exists(), "{}: {target} is not there", page.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} links were found");
}
