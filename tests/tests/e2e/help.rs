//! Every command explains itself, with an example.

use lunapark_tests::harness::Workplace;

pub(super) fn help(place: &Workplace, command: &[String]) -> String {
    let output = place.bare_command().args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help text lists.
pub(super) fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let name = |line: &str| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')).map(first_word);
    listed.filter_map(name).filter(|name| name != "help").collect()
}

fn first_word(line: &str) -> String {
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn every_help_has_an_example() {
    let place = Workplace::embedded();
    let mut todo = vec![Vec::<String>::new()];
    let mut seen = 0;
    while let Some(command) = todo.pop() {
        let text = help(&place, &command);
        assert!(text.contains("Examples:\n  ") && text.contains("  lunapark "), "{command:?} has no example:\n{text}");
        todo.extend(commands(&text).into_iter().map(|name| [command.clone(), vec![name]].concat()));
        seen += 1;
    }
    assert!(seen > 15, "only {seen} commands were found");
}
