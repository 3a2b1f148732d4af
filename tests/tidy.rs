//! What holds for the project as a whole and no compiler checks: the order of its modules, the size of its parts, what
//! each may know of, and that its documents say what is there.

use std::fs;
use std::path::Path;

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/mutations.rs"]
mod mutations;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use rules::Faults;
use source::{File, files, root, test_places};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// Runs a rule over the files that it is for, and fails with everything that it found.
fn check(concerns: impl Fn(&File) -> bool, rule: impl Fn(&File) -> Faults) {
    let mut found = Vec::new();
    for file in files().iter().filter(|file| concerns(file)) {
        found.extend(
            rule(file)
                .iter()
                .map(|(line, fault)| format!("{}:{line}: {fault}", file.path)),
        );
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

fn is_source(file: &File) -> bool {
    file.is_under("src") && file.is_rust()
}

fn is_program(file: &File) -> bool {
    let extension = Path::new(&file.path).extension().unwrap_or_default();
    ["rs", "py", "cjs", "mjs", "ts"]
        .iter()
        .any(|known| extension == *known)
        || file.path == "tests/run"
}

#[test]
fn a_module_imports_only_what_lib_rs_lists_above_it() {
    let listed = rules::listed_modules(&read("src/lib.rs"));
    let place = |name: &str| listed.iter().position(|module| module == name);
    check(is_source, |file| {
        let parts: Vec<&str> = file
            .path
            .trim_end_matches(".rs")
            .trim_end_matches("/mod")
            .split('/')
            .collect();
        let Some(own) = place(parts[1]) else {
            return Vec::new();
        };
        let imports = rules::imports(&file.code(), parts.len() - 1).into_iter();
        let wrong = imports.filter(|(_, name)| {
            let imported = place(name);
            imported.is_some_and(|imported| imported > own || parts[1] == "simulator" && imported != own)
        });
        let told = |name: &str| {
            format!(
                "`{}` may not import `{name}`: see the order in src/lib.rs",
                parts[1]
            )
        };
        wrong.map(|(line, name)| (line, told(&name))).collect()
    });
}

#[test]
fn every_module_is_listed_in_lib_rs() {
    let listed = rules::listed_modules(&read("src/lib.rs"));
    check(is_source, |file| {
        let module = file
            .path
            .split('/')
            .nth(1)
            .unwrap_or_default()
            .trim_end_matches(".rs");
        let is_known = ["lib", "main"].contains(&module) || listed.iter().any(|name| name == module);
        let fault = format!("`{module}` is not in src/lib.rs: list it, in reading order, or remove it");
        if is_known { Vec::new() } else { vec![(1, fault)] }
    });
}

#[test]
fn no_file_is_too_long() {
    check(is_program, |file| {
        let lines = file.text.lines().count();
        let fault = format!("{lines} lines, {FILE_LINES_MAX} at most: split it");
        if lines > FILE_LINES_MAX {
            vec![(lines, fault)]
        } else {
            Vec::new()
        }
    });
}

#[test]
fn no_function_is_too_long() {
    check(File::is_rust, |file| {
        rules::long_functions(&file.code(), FUNCTION_LINES_MAX)
    });
}

#[test]
fn every_configuration_key_is_explained() {
    let path = "config/sidecar.toml";
    assert!(
        root().join(path).exists(),
        "{path} is missing: it lists every key with its default"
    );
    check(
        |file| file.path == path,
        |file| rules::unexplained_keys(&file.text),
    );
}

#[test]
fn nothing_is_left_undone_skipped_or_slept_through() {
    // Written in two parts, so that they are not found here.
    let unwanted = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("#[ig", "nore"),
        concat!("thread::", "sleep"),
        concat!("time.", "sleep"),
        concat!("skip", "Test"),
        concat!("FIX", "ME"),
    ];
    check(
        |file| file.is_under("src") || file.is_under("tests"),
        |file| rules::mentions(&file.text, &unwanted, "finish it, test it, or await a condition"),
    );
}

#[test]
fn nothing_but_guard_deletes() {
    let all = files();
    let mut may = test_places(&all);
    may.extend(["src/guard", "src/upstream/manage", "src/simulator"].map(str::to_owned));
    check(
        |file| is_source(file) && !may.iter().any(|place| file.is_under(place)),
        |file| {
            let told = "only `guard` may have a user deleted: ask it, so that every rule is kept";
            rules::deletions(&file.code_outside_tests())
                .into_iter()
                .map(|line| (line, told.to_owned()))
                .collect()
        },
    );
    // Were the call renamed, the rule above would hold for nothing.
    let mut guard = all.iter().filter(|file| file.is_under("src/guard"));
    let is_called = guard.any(|file| !rules::deletions(&file.code_outside_tests()).is_empty());
    assert!(
        is_called,
        "no `.delete(` in src/guard: tell `deletions` in tests/tidy/rules.rs its new name"
    );
}

#[test]
fn what_decides_has_no_clock_no_io_and_no_chance() {
    let tests = test_places(&files());
    let outside = "tokio std::net std::fs std::io std::env std::thread std::process hyper reqwest tracing";
    let unwanted: Vec<&str> = outside
        .split(' ')
        .chain(["SystemTime", "Instant::now", "rand"])
        .collect();
    let told = "deciding is pure: take it as an argument, or return a step that has it done";
    check(
        |file| {
            ["src/admission", "src/snaptrade"]
                .iter()
                .any(|place| file.is_under(place))
                && !tests.iter().any(|place| file.is_under(place))
        },
        |file| rules::words(&file.code_outside_tests(), &unwanted, told),
    );
}

#[test]
fn what_waits_reads_the_one_clock() {
    let tests = test_places(&files());
    let places =
        ["activity", "guard", "notices", "proxy", "upstream", "webhooks"].map(|name| format!("src/{name}"));
    let told = "ask `crate::clock`, so that a test can let the time stand still";
    check(
        |file| {
            let is_under = |place: &String| file.is_under(place);
            is_source(file) && places.iter().any(is_under) && !tests.iter().any(is_under)
        },
        |file| {
            let code = file.code_outside_tests();
            // The runtime's own instants follow its clock by themselves.
            let has_std = |line: &str| line.starts_with("use std::time") && line.contains("Instant");
            let unwanted: &[&str] = if code.lines().any(has_std) {
                &["SystemTime::now", "Instant::now", ".elapsed()"]
            } else {
                &["SystemTime::now"]
            };
            rules::mentions(&code, unwanted, told)
        },
    );
}

#[test]
fn the_documents_are_there() {
    let is_there = |path: &&str| fs::metadata(root().join(path)).is_ok_and(|metadata| metadata.len() > 0);
    let documents = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "SECURITY.md",
    ];
    let missing: Vec<&str> = documents.into_iter().filter(|path| !is_there(path)).collect();
    assert!(
        missing.is_empty(),
        "missing or empty: {}; every reader looks for them",
        missing.join(", ")
    );
}

#[test]
fn links_between_documents_lead_somewhere() {
    check(File::is_markdown, |file| documents::broken_links(file, root()));
}

#[test]
fn the_tests_that_documents_name_are_there() {
    let all = files();
    let is_there = |name: &str| {
        let wanted = format!("fn {name}(");
        all.iter()
            .any(|file| file.is_rust() && file.text.contains(&wanted))
    };
    check(
        |file| file.path == "SECURITY.md" || file.path == "docs/http.md",
        |file| documents::named_tests(file, is_there),
    );
}

#[test]
fn nothing_names_somebodys_home_folder() {
    let homes = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("\\Us", "ers\\"),
    ];
    check(
        |_| true,
        |file| {
            documents::paths(
                &file.text,
                &homes,
                "it is on one machine only: name it from the project's root",
            )
        },
    );
}
