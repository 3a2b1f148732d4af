//! The rules that `make mutations` switches off: that what is to be changed still stands in the code.

use serde::Deserialize;

use super::{files, read};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutation: Vec<Mutation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutation {
    rule: String,
    off: String,
    found_by: String,
    change: Vec<Change>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    file: String,
    before: String,
    after: String,
}

#[test]
fn every_mutation_still_has_its_place_and_its_finder() {
    let list: List = toml::from_str(&read("tests/mutations.toml")).unwrap();
    let mut wrong = Vec::new();
    for mutation in &list.mutation {
        for change in &mutation.change {
            let times = read(&change.file).matches(&change.before).count();
            if times != 1 || change.before == change.after {
                wrong.push(format!(
                    "{}: {} has {times} times: {}",
                    mutation.off, change.file, change.before
                ));
            }
        }
        let finder = format!("fn {}(", mutation.found_by);
        let is_found = |file: &super::File| file.is_under("src") && file.text.contains(&finder);
        if mutation.found_by != "simulation" && !files().iter().any(is_found) {
            wrong.push(format!(
                "{}: there is no test {}",
                mutation.off, mutation.found_by
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_rule_has_a_mutation() {
    let list: List = toml::from_str(&read("tests/mutations.toml")).unwrap();
    for number in 1..=15 {
        let rule = format!("R{number}");
        assert!(
            list.mutation.iter().any(|mutation| mutation.rule == rule),
            "{rule}"
        );
    }
}
