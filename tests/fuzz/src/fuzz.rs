//! Fuzz targets: one test for each parser of what others wrote. README.md lists them.
//!
//! `cargo test` runs each target with every input of its folder in `corpus/`. `tests/fuzz/run` builds
//! the same tests with coverage and libFuzzer, which looks for more inputs.

mod bounds;
mod choices;
mod corpus;
mod contents;
mod credential;
#[cfg(feature = "libfuzzer")]
mod engine;
mod http;
mod journal;
mod json;
mod proxy;
mod recovery;
mod redis_reply;
mod route;
mod settings;
mod stream;

/// Defines a test for each target, and the list of their names.
macro_rules! targets {
    ($($name:ident = $check:path,)*) => {
        /// The names of the targets, which are those of their folders in `corpus/`.
        const TARGETS: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                run(stringify!($name), $check);
            }
        )*
    };
}

targets! {
    http_head = http::head,
    http_body = http::body,
    http_connection = http::connection,
    route = route::route,
    json_purchase = json::purchase,
    json_control = json::control,
    redis_reply = redis_reply::reply,
    stream_line = stream::line,
    stream_entry = stream::entry,
    journal_record = journal::record,
    ledger_text = journal::text,
    recovery = recovery::recovery,
    contents = contents::contents,
    config_file = settings::file,
    config_value = settings::value,
    credential = credential::credential,
    proxy_header = proxy::header,
}

/// Runs a target with its corpus; or, built and started by `tests/fuzz/run`, with what libFuzzer finds.
fn run(target: &str, check: fn(&[u8])) {
    #[cfg(feature = "libfuzzer")]
    if let Ok(arguments) = std::env::var("LIBFUZZER_ARGUMENTS") {
        return engine::run(check, &arguments);
    }
    corpus::replay(target, check);
}

#[test]
fn every_folder_of_the_corpus_has_a_target() {
    corpus::check_folders(TARGETS);
}

#[test]
fn the_readme_lists_every_target_and_its_time() {
    corpus::check_readme(TARGETS);
}
