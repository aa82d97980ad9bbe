//! The program as its operator meets it: exit codes, messages, and which value wins.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use stampede::config::LogFormat;
use stampede::logging;

fn stampede(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STAMPEDE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

struct Told {
    code: i32,
    out: String,
    err: String,
}

fn run(command: &mut Command) -> Told {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Told {
        code: status.code().expect("an exit code"),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

fn tell(arguments: &[&str]) -> Told {
    run(&mut stampede(arguments))
}

#[test]
fn help_and_version_succeed() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["check-config", "--help"]] {
        let told = tell(arguments);
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{arguments:?}");
        for text in ["--listen", "--sale", "Ledger:", "Examples:", "Exit codes:", "STAMPEDE_LISTEN"]
        {
            assert!(told.out.contains(text), "{arguments:?}: no {text}");
        }
    }
    for (arguments, text) in [
        (&["help"][..], "Examples:"),
        (&["help", "sale"], "stampede sale list"),
        (&["sale", "help"], "archive"),
        (&["help", "reservation", "confirm"], "Confirm a reservation"),
        (&["reservation", "--help"], "stampede reservation confirm ticket~"),
        (&["help", "serve"], "SIGQUIT, SIGUSR1"),
    ] {
        let told = tell(arguments);
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{arguments:?}");
        assert!(told.out.contains(text), "{arguments:?}: no {text}");
    }
    assert!(!tell(&["reservation", "--help"]).out.contains("add-stock"));
    let (long, short) = (tell(&["--help"]), tell(&["-h"]));
    assert_eq!(short.code, 0);
    assert!(short.out.lines().count() * 3 < long.out.lines().count() * 2);
    let version = tell(&["--version"]);
    assert_eq!(version.code, 0);
    assert_eq!(version.out, concat!("stampede ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_exits_with_2() {
    for (arguments, told) in [
        (&["--lisen", "127.0.0.1:0"][..], "--listen"),
        (&["check-config", "--sail", "a=1"], "--sale"),
        (&["check-confg"], "check-config"),
        (&["--listen"], "--listen"),
        (&["ticket=100"], "tip: to sell, write '--sale ticket=100'"),
        (&["--stock", "1", "--stock", "2"], "--stock"),
    ] {
        let answer = tell(arguments);
        assert_eq!(answer.code, 2, "{arguments:?}");
        assert!(answer.err.contains(told), "{arguments:?}: {}", answer.err);
        assert_eq!(answer.out, "");
    }
}

const LONG: &str = "unix:/tmp/01234567890123456789012345678901234567890123456789\
                    01234567890123456789012345678901234567890123456789xxx";

/// Setting, value, and the message about it.
const WRONG: &[(&str, &str, &str)] = &[
    ("--listen", "3005", "must be HOST:PORT"),
    ("--listen", "", "must be HOST:PORT"),
    ("--listen", "::1:3005", "write an IPv6 address in brackets, as in [::1]:3005"),
    ("--listen", "127.0.0.1:70000", "the port must be a whole number from 0 to 65535"),
    ("--listen", "unix:", "must be unix: and the path of a file"),
    ("--listen", "unix:@name", "an abstract socket"),
    ("--listen", "unix:/no/such/folder/socket", "can't be created in /no/such/folder"),
    ("--listen", "unix:/etc/passwd", "is no socket; it is left alone"),
    ("--listen", LONG, "at most 107 bytes, this one 108"),
    ("--control", "3006", "must be HOST:PORT"),
    ("--control", "0.0.0.0:3006", "set a token"),
    ("--control", "[::]:3006", "set a token"),
    ("--control", "0.0.0.0:3005", "can't be the port for buyers"),
    ("--control-token-file", "/no/such/token", "can't be read"),
    ("--read-token-file", "/no/such/token", "can't be read"),
    ("--cores", "", "must be a list such as 0-3,6"),
    ("--cores", "zero", "must be a list such as 0-3,6"),
    ("--cores", "100000", "core 100000 is not one that this process may use"),
    ("--connections-max", "0", "must be a whole number from 1 to"),
    ("--connections-max", "-1", "must be a whole number from 1 to"),
    ("--connections-per-address", "0", "must be a whole number from 1 to 16777216, or off"),
    ("--trusted-proxies", "10.0.0.1/8", "the network is 10.0.0.0/8"),
    ("--trusted-proxies", "nginx", "must be a network such as 10.0.0.0/8"),
    ("--ledger", "sqlite", "must be embedded:DIR"),
    ("--ledger", "redis://", "names no host; must be embedded:DIR"),
    ("--ledger", "redis+unix:///tmp/redis.sock", "not by a Unix socket"),
    ("--ledger", "embedded:", "must name a folder"),
    ("--ledger", "redis-cluster://host/1", "no database but 0"),
    ("--ledger", "redis-sentinel://host", "redis-sentinel://host:port,host:port/mymaster"),
    ("--redis-wait", "17", "must be a whole number from 0 to 16"),
    ("--redis-sentinel-user", "ann", "needs its password"),
    ("--redis-ca", "/no/such.pem", "can't be read"),
    ("--redis-counters-key", "stock", "must contain {sale}"),
    ("--redis-total-field", "a b", "printable ASCII"),
    ("--redis-sold-field", "{sale}_total_nums", "must be different fields"),
    ("--sale", "ticket", "must be ID=TOTAL"),
    ("--sale", "ticket=-5", "total must be a whole number from 0 to 1099511627776"),
    ("--sale", "Ticket=5", "a sale id is 1 to 64 bytes of a-z 0-9 . _ -"),
    ("--sale", "ticket=5,hold=5", "hold must be a whole number and a unit"),
    ("--sale", "ticket=5,hold=0", "hold must be from 1ms to 366d"),
    ("--sale", "ticket=5,hold=1y", "y is not a unit"),
    ("--sale", "ticket=5,", "has a comma with nothing after it"),
    ("--sale", "ticket=10_000", "from 0 to 1099511627776; write 10000"),
    ("--sale", "ticket=10,000", "write the total without a comma"),
    ("--sale", "ticket=5,colour=red", "`colour` is none of hold, limit, quantity, opens, closes"),
    ("--stock", "-1", "must be a whole number from 1 to 1099511627776, or auto"),
    ("--stock", "lots", "or auto"),
    ("--stat-log", "/no/such/folder/file", "can't be created in /no/such/folder"),
    ("--log", "loud", "must be error, warn, info, debug, trace or off"),
    ("--log", "info,stampede::=", "or a filter such as"),
    ("--log-format", "xml", "must be text, json or journal"),
    ("--drain-delay", "6m", "must be from 0s to 5m"),
    ("--drain-timeout", "2h", "must be from 0s to 1h"),
    ("--idle-timeout", "75", "must be a whole number and a unit"),
    ("--head-timeout", "1ms", "must be from 500ms to 1h"),
    ("--body-timeout", "-5", "must be a whole number and a unit"),
    ("--write-timeout", "10 s", "must be a whole number and a unit"),
    ("--ledger-timeout", "1h", "must be from 100ms to 1m"),
    ("--waiting-max", "0", "must be a whole number from 1 to 16777216"),
    ("--config", "/no/such.toml", "can't read the configuration file"),
];

#[test]
fn a_wrong_value_is_named_with_its_setting_and_the_rule() {
    for &(setting, value, right) in WRONG {
        for command in ["serve", "check-config"] {
            let told = tell(&[command, setting, value]);
            let at = format!("{command} {setting} {value}: {}", told.err);
            assert_eq!(told.code, 2, "{at}");
            assert!(told.err.starts_with("error: ") && told.err.contains(right), "{at}");
            assert!(told.err.contains(value), "{at}");
            assert!(told.err.contains(setting) || setting == "--config", "{at}");
            assert_eq!(told.out, "", "{at}");
        }
        // The same through the environment, under the variable's name.
        let variable = format!("STAMPEDE_{}", setting[2..].to_uppercase().replace('-', "_"));
        let told = run(stampede(&["check-config"]).env(&variable, value));
        assert_eq!(told.code, 2, "{variable}={value}: {}", told.err);
        assert!(told.err.contains(&variable) || setting == "--config", "{}", told.err);
    }
    let told = tell(&["--sale", "ticket=-5"]);
    let line = told.err.lines().next().unwrap();
    let expected = "error: --sale ticket=-5: total must be a whole number from 0 to 1099511627776";
    assert_eq!(line, expected);
}

#[test]
fn flags_override_environment_file_and_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stampede.toml");
    std::fs::write(&file, "idle-timeout = '4m'\nhead-timeout = '4m'\nbody-timeout = '4m'\n")
        .unwrap();
    let config = file.to_str().unwrap();
    let told = run(stampede(&["check-config", "--config", config, "--idle-timeout", "2m"])
        .env("STAMPEDE_IDLE_TIMEOUT", "3m")
        .env("STAMPEDE_HEAD_TIMEOUT", "3m")
        .current_dir(&folder));
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    let lines: Vec<String> =
        told.out.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "idle-timeout = \"2m\" # flag",
        "head-timeout = \"3m\" # environment",
        "body-timeout = \"4m\" # file",
        "write-timeout = \"10s\" # default",
        "ledger = \"embedded:./stampede-data\" # default",
        "total = 10000",
    ] {
        assert!(lines.iter().any(|l| l == line), "{line}:\n{}", told.out);
    }
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert_eq!(left.len(), 1, "a check leaves nothing behind");
}

#[test]
fn an_unknown_name_in_the_file_is_an_error_with_a_suggestion() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "idle_timeout = '1m'\n").unwrap();
    let told = tell(&["check-config", "--config", file.path().to_str().unwrap()]);
    assert_eq!(told.code, 2);
    assert!(
        told.err.contains("idle_timeout: there is no such setting; did you mean idle-timeout?")
    );
}

#[test]
fn a_section_in_the_file_is_an_error_with_advice() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "[server]\nlisten = '0.0.0.0:3005'\n").unwrap();
    let told = tell(&["check-config", "--config", file.path().to_str().unwrap()]);
    let wanted =
        "server: there is no such setting; settings stand at the top of the file, in no [section]";
    assert!(told.code == 2 && told.err.contains(wanted), "{}", told.err);
}

#[test]
fn a_valid_but_suspicious_setting_is_a_warning() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(&file, "0123456789abcdef").unwrap();
    let mode = |mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let warning = |arguments: &[&str]| {
        let told = tell(&[&["check-config"], arguments].concat());
        assert_eq!(told.code, 0, "{arguments:?}: {}", told.err);
        told.err
    };
    for (sale, wanted) in [
        ("ticket=0", "sale ticket: the total is 0, so nothing is for sale until you add stock"),
        ("ticket=5,closes=2001-01-01T00:00:00Z", "is in the past"),
        ("ticket=5,min=6", "nobody can buy"),
    ] {
        let warned = warning(&["--sale", sale]);
        assert!(
            warned.starts_with("warning: sale ticket: ") && warned.contains(wanted),
            "{warned}"
        );
    }
    assert_eq!(warning(&["--sale", "ticket=5,opens=2001-01-01T00:00:00Z"]), "");
    for option in ["--control-token-file", "--shop-token-file"] {
        mode(0o644);
        let warned = warning(&[option, path]);
        let wanted = format!("can read the token in {path}: chmod o-r");
        assert!(warned.contains(&wanted), "{warned}");
        mode(0o640);
        assert_eq!(warning(&[option, path]), "");
    }
}

#[test]
fn man_pages_and_completions_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("man");
    let told = tell(&["man", "--to", to.to_str().unwrap()]);
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    let page = std::fs::read_to_string(to.join("stampede-sale.1")).unwrap();
    assert!(
        page.contains(".SH NAME\nstampede\\-sale \\- ") && told.out.contains("stampede-sale.1")
    );
    for (shell, text) in
        [("bash", "complete -F"), ("zsh", "#compdef stampede"), ("fish", "complete -c stampede")]
    {
        let told = tell(&["completions", shell]);
        assert!(told.code == 0 && told.out.contains(text), "{shell}");
    }
    assert_eq!(tell(&["completions", "csh"]).code, 2);
    let failed = tell(&["man", "--to", "/dev/null/man"]);
    assert!(failed.code == 1 && failed.err.contains("--to /dev/null/man: can't be written"));
}

#[test]
fn all_errors_are_reported_together() {
    let told = tell(&["--stock", "x", "--waiting-max", "x", "--sale", "x"]);
    assert_eq!(told.code, 2);
    assert_eq!(told.err.lines().filter(|line| line.starts_with("error: ")).count(), 3);
}

#[test]
fn a_password_is_never_printed() {
    for (ledger, code) in [
        ("redis://user:hunter2@127.0.0.1:6379/0", 0),
        ("redis://:hunter2@127.0.0.1", 0),
        ("rediss://user:hunter2@host/x", 2),
        ("reddis://user:hunter2@host", 2),
        ("redis://user:hunter2", 2),
        ("redis://user:hun/hunter2@host", 2),
    ] {
        let by_flag = tell(&["check-config", "--ledger", ledger]);
        let by_environment = run(stampede(&["check-config"]).env("STAMPEDE_LEDGER", ledger));
        for told in [by_flag, by_environment] {
            assert_eq!(told.code, code, "{}", told.err);
            assert!(!told.out.contains("hunter2") && !told.err.contains("hunter2"), "{ledger}");
            assert!(told.out.contains("***") || told.err.contains("***"), "{ledger}");
        }
    }
}

#[test]
fn the_control_token_is_validated_and_never_printed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "hunter2-hunter2-hunter2\n").unwrap();
    let path = file.path().to_str().unwrap();
    let check = ["check-config", "--control", "0.0.0.0:0"];
    let by_file = tell(&[&check[..], &["--control-token-file", path]].concat());
    let by_variable =
        run(stampede(&check).env("STAMPEDE_CONTROL_TOKEN", "hunter2-hunter2-hunter2"));
    for told in [&by_file, &by_variable] {
        assert_eq!((told.code, told.err.as_str()), (0, ""));
        assert!(told.out.contains("control = \"0.0.0.0:0\""), "{}", told.out);
        assert!(!told.out.contains("hunter2"), "{}", told.out);
    }
    assert!(by_file.out.contains("control-token-file = "), "{}", by_file.out);
    let short = run(stampede(&check).env("STAMPEDE_CONTROL_TOKEN", "hunter2"));
    assert_eq!(short.code, 2);
    assert!(
        short.err.contains("STAMPEDE_CONTROL_TOKEN=***: a token is 16 to 512"),
        "{}",
        short.err
    );
    let both = run(stampede(&["check-config", "--control-token-file", path])
        .env("STAMPEDE_CONTROL_TOKEN", "hunter2-hunter2-hunter2"));
    assert_eq!(both.code, 2, "{}", both.err);
    assert!(!both.err.contains("hunter2"));
    let off = tell(&["check-config", "--control", "off"]);
    assert!(off.out.contains("control = \"off\""), "{}", off.out);
    let flag = tell(&["check-config", "--control-token", "hunter2-hunter2-hunter2"]);
    assert_eq!(flag.code, 2, "a secret is no option");
}

#[test]
fn the_read_token_is_validated_and_never_printed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "hunter2-hunter2-hunter2\n").unwrap();
    let path = file.path().to_str().unwrap();
    let check = |token: &str, looks: &str, arguments: &[&str]| {
        let mut command = stampede(&[&["check-config"], arguments].concat());
        for (name, value) in [("STAMPEDE_CONTROL_TOKEN", token), ("STAMPEDE_READ_TOKEN", looks)] {
            if !value.is_empty() {
                command.env(name, value);
            }
        }
        let told = run(&mut command);
        assert!(!told.out.contains("hunter2") && !told.err.contains("hunter2"), "{}", told.err);
        (told.code, told.out, told.err)
    };
    let (code, out, err) = check("operator-operator", "hunter2-hunter2-hunter2", &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("read-token = \"***\""), "{out}");
    let (code, out, _) = check("operator-operator", "", &["--read-token-file", path]);
    assert_eq!(code, 0);
    assert!(out.contains("read-token-file = "), "{out}");
    for (token, looks, arguments, why) in [
        ("", "hunter2-hunter2-hunter2", &[][..], "without a token for changes"),
        ("", "", &["--read-token-file", path], "without a token for changes"),
        ("hunter2-hunter2-hunter2", "hunter2-hunter2-hunter2", &[], "create another one"),
        ("operator-operator", "hunter2", &[], "STAMPEDE_READ_TOKEN=***: a token is 16 to 512"),
        (
            "operator-operator",
            "hunter2-hunter2-hunter2",
            &["--read-token-file", path],
            "read-token-file is set too",
        ),
    ] {
        let (code, _, err) = check(token, looks, arguments);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(why), "{err}");
    }
}

#[test]
fn a_wrong_operator_command_is_refused_before_connecting() {
    for (arguments, right) in [
        (&["sale", "create", "ticket"][..], "ticket: must be ID=TOTAL"),
        (&["sale", "create", "ticket=-5"], "total must be a whole number"),
        (
            &["sale", "create", "a=1,opens=2030-01-01T00:00:00Z,closes=2029-01-01T00:00:00Z"],
            "opens must be before closes",
        ),
        (&["sale", "create"], "ID=TOTAL"),
        (&["sale", "add-stock", "ticket", "-5"], "UNITS must be a whole number from 1"),
        (&["sale", "add-stock", "ticket", "0"], "UNITS must be a whole number from 1"),
        (&["sale", "take-stock", "ticket", "-5"], "UNITS must be a whole number from 1"),
        (
            &["sale", "take-stock", "ticket", "all", "--at-most"],
            "UNITS must be a whole number from 1",
        ),
        (&["sale", "change", "ticket"], "required arguments were not provided"),
        (&["sale", "change", "Ticket", "--hold", "1s"], "a sale"),
        (&["sale", "change", "ticket", "--hold", "0s"], "--hold 0s: must be from 1ms to 366d"),
        (&["sale", "change", "ticket", "--hold", "5"], "--hold 5: "),
        (
            &["sale", "change", "ticket", "--limit", "-1"],
            "--limit -1: must be a whole number from 0",
        ),
        (&["sale", "change", "ticket", "--quantity-max", "0"], "--quantity-max 0: must be a whole"),
        (&["sale", "change", "ticket", "--quantity-min", "0"], "--quantity-min 0: must be a whole"),
        (&["sale", "change", "ticket", "--extend", "367d"], "--extend 367d: must be from 1ms"),
        (
            &["sale", "change", "ticket", "--reservations", "all"],
            "--reservations all: must be a whole",
        ),
        (
            &["sale", "change", "ticket", "--reservations-per-user", "-1"],
            "--reservations-per-user -1: must be a whole",
        ),
        (
            &["sale", "change", "ticket", "--closes-at", "tomorrow"],
            "--closes-at tomorrow: must be a time",
        ),
        (&["reservation", "refund", "ticket"], "ticket: "),
        (&["sale", "open", "a b"], "a sale id is 1 to 64 bytes"),
        (&["sale", "show", &"x".repeat(1024)], "a sale id is 1 to 64 bytes"),
        (&["sale", "shwo", "ticket"], "show"),
        (&["sale", "archive", "ticket"], "--to"),
        (&["reservation", "confirm", "ticket"], "a reservation id is a sale id"),
        (&["sale", "list", "--control", "https://host:1"], "use http://HOST:PORT"),
        (&["sale", "list", "--control", "host"], "must be http://HOST:PORT"),
        (&["sale", "list", "--ledger", "sqlite"], "must be embedded:DIR"),
        (&["sale", "list", "--ledger", "redis://h", "--control", "h:1"], "cannot be used with"),
        (&["sale", "list", "--token-file", "/no/such"], "can't be read"),
    ] {
        let told = tell(arguments);
        assert_eq!(told.code, 2, "{arguments:?}: {}", told.err);
        assert!(told.err.contains(right), "{arguments:?}: {}", told.err);
        assert!(told.out.is_empty(), "{arguments:?}: {}", told.out);
    }
    let folder = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let none = format!("embedded:{}/none", folder.path().display());
    for (arguments, right) in [
        (
            ["sale", "list", "--control", &nobody.to_string()],
            "no server answers at http://127.0.0.1",
        ),
        (["sale", "list", "--ledger", &none], "none"),
        (
            ["sale", "list", "--direct", "--json"],
            "of --config FILE or STAMPEDE_LEDGER, and neither names",
        ),
    ] {
        let told = tell(&arguments);
        assert_eq!(told.code, 1, "{arguments:?}: {}", told.err);
        assert!(told.err.contains(right), "{}", told.err);
    }
    assert!(!folder.path().join("none").exists(), "to look makes no ledger");
}

/// A panic that cannot unwind, which aborts the process.
extern "C" fn abort_by_a_panic() {
    panic!("the reason of the end");
}

#[test]
fn the_last_lines_of_an_aborting_process_reach_stderr() {
    const CHILD: &str = "ABORT_IN_THIS_TEST";
    let name = "the_last_lines_of_an_aborting_process_reach_stderr";
    if std::env::var_os(CHILD).is_some() {
        logging::start("info", LogFormat::Text).unwrap();
        std::io::stderr().write_all(b"a library ").unwrap();
        std::io::stderr().write_all(b"writes\n").unwrap();
        abort_by_a_panic();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{told}");
    for text in ["a library writes\n", "the reason of the end", "non-unwinding panic"] {
        assert!(told.contains(text), "no {text}: {told}");
    }
}
