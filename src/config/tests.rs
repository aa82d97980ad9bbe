//! Layers, their order, and that what is shown can be read again.

use std::ffi::OsString;

use super::*;

fn host() -> Host {
    Host { cores: vec![0, 1, 2, 3], cores_paid: 4, file_limit: 20_000 }
}

fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn load(options: &ServeOptions, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load_from(options, env(pairs), &host())
}

fn file(text: &str) -> (tempfile::NamedTempFile, ServeOptions) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let config = Some(file.path().display().to_string());
    (file, ServeOptions { config, ..Default::default() })
}

#[test]
fn defaults_apply_without_any_setting() {
    let config = load(&ServeOptions::default(), &[]).unwrap();
    assert_eq!(config.listen, [Listen::Tcp("0.0.0.0:3005".parse().unwrap())]);
    assert_eq!(config.cores, vec![0, 1, 2, 3]);
    assert_eq!(config.connections_max, 20_000 - 64 - 32);
    assert_eq!(config.ledger, LedgerSetting::Embedded("./stampede-data".into()));
    assert!(!config.sales_given);
    assert_eq!(config.sales.len(), 1);
    assert_eq!((config.sales[0].0.as_str(), config.sales[0].1.total), ("ticket", 10_000));
    assert_eq!(config.stock, StockSetting::Auto);
    assert_eq!((config.stock_buffer_percent, &config.instance), (50, &None));
    assert_eq!(config.waiting_max, None);
    assert!(config.warnings.is_empty());
    assert!(config.sources.iter().all(|(_, source)| *source == Source::Default));
}

#[test]
fn a_cpu_quota_limits_the_default_cores() {
    let host = Host { cores_paid: 2, ..host() };
    let cores = |pairs: &[(&str, &str)]| {
        let config = Config::load_from(&ServeOptions::default(), env(pairs), &host).unwrap();
        (config.cores, config.warnings)
    };
    assert_eq!(cores(&[]), (vec![0, 1], vec![]));
    assert_eq!(cores(&[("STAMPEDE_CORES", "2-3")]), (vec![2, 3], vec![]));
    let (all, warnings) = cores(&[("STAMPEDE_CORES", "0-3")]);
    assert_eq!(all, [0, 1, 2, 3]);
    assert!(warnings[0].contains("quota allows 2"), "{warnings:?}");
}

#[test]
fn a_reload_applies_some_settings_and_names_the_others() {
    let (file, options) = file("");
    let load = |text: &str| {
        std::fs::write(file.path(), text).unwrap();
        load(&options, &[("STAMPEDE_WAITING_MAX", "9")]).unwrap()
    };
    let old = load("idle-timeout = '1m'\nlisten = ['127.0.0.1:1']");
    let new = load("idle-timeout = '2m'\nlisten = ['127.0.0.1:2']\nlog = 'debug'");
    let changes = old.changes(&new);
    assert_eq!(changes.applied, ["log", "idle-timeout"]);
    assert_eq!(changes.need_restart, ["listen"]);
    let now = old.with_applied(&new);
    assert_eq!((now.idle_timeout_ms, &*now.log_filter), (120_000, "debug"));
    assert_eq!(now.listen, old.listen);
    // Another reload reports again that the address needs a restart, and nothing else.
    let again = now.changes(&new);
    assert_eq!((again.applied.len(), &*again.need_restart), (0, &["listen"][..]));
    assert_eq!(now.changes(&old).applied, ["log", "idle-timeout"]);
}

#[test]
fn a_reload_applies_a_changed_token_file() {
    let token = tempfile::NamedTempFile::new().unwrap();
    let load = |text: &str| {
        std::fs::write(token.path(), text).unwrap();
        let options = ServeOptions {
            control_token_file: Some(token.path().display().to_string()),
            ..Default::default()
        };
        load(&options, &[]).unwrap()
    };
    let (old, new) = (load("0123456789abcdef"), load("0123456789abcdef0"));
    assert_eq!(old.changes(&new).applied, ["control-token-file"]);
    assert_eq!(old.with_applied(&new).control, new.control);
}

#[test]
fn a_redis_ledger_gets_no_default_sale() {
    let config = load(&ServeOptions::default(), &[("STAMPEDE_LEDGER", "redis://host")]).unwrap();
    assert!(config.sales.is_empty() && !config.sales_given);
    let (_file, options) = file("sale = []");
    let config = load(&options, &[]).unwrap();
    assert!(config.sales.is_empty() && config.sales_given);
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let (_file, mut options) = file(
        "listen = ['127.0.0.1:1', '127.0.0.1:2']\nidle-timeout = '1m'\nhead-timeout = '1m'\n\
         body-timeout = '1m'\nwaiting-max = 7\ncores = [1, '2-3']\n[[sale]]\nid = 'file'\ntotal = 1",
    );
    options.idle_timeout = Some("3m".into());
    let pairs = [
        ("STAMPEDE_IDLE_TIMEOUT", "2m"),
        ("STAMPEDE_HEAD_TIMEOUT", "2m"),
        ("STAMPEDE_LISTEN", "127.0.0.1:8, [::1]:9"),
        ("STAMPEDE_SALE", "a=1,hold=1s;b=2,limit=1"),
    ];
    let config = load(&options, &pairs).unwrap();
    let minutes = [config.idle_timeout_ms, config.head_timeout_ms, config.body_timeout_ms];
    assert_eq!(minutes, [180_000, 120_000, 60_000]);
    assert_eq!(config.listen, ["127.0.0.1:8", "[::1]:9"].map(|a| Listen::Tcp(a.parse().unwrap())));
    assert_eq!(config.cores, [1, 2, 3]);
    assert_eq!(config.waiting_max, Some(7));
    let sales: Vec<_> = config.sales.iter().map(|(id, spec)| (id.as_str(), spec.total)).collect();
    assert_eq!(sales, [("a", 1), ("b", 2)]);
    assert_eq!(config.source("idle-timeout"), Source::Flag);
    assert_eq!(config.source("head-timeout"), Source::Environment);
    assert_eq!(config.source("body-timeout"), Source::File);
    assert_eq!(config.source("write-timeout"), Source::Default);
}

#[test]
fn a_trailing_newline_of_a_value_is_removed() {
    let (_file, options) = file("redis-sentinel-user = \"ann\\n\"\ninstance = \"web1\\r\\n\"");
    let options = ServeOptions { ledger: Some("redis-sentinel://host/m\n".into()), ..options };
    let pairs = [
        ("STAMPEDE_CONTROL_TOKEN", "0123456789abcdef\n"),
        ("STAMPEDE_REDIS_SENTINEL_PASSWORD", "hunter2\n"),
    ];
    let config = load(&options, &pairs).unwrap();
    let LedgerSetting::Redis(redis) = config.ledger else { panic!() };
    assert_eq!(redis.url.expose(), "redis-sentinel://host/m");
    let login = redis.sentinel_login.unwrap();
    assert_eq!((login.user.as_deref(), login.password.reveal()), (Some("ann"), "hunter2"));
    assert_eq!(config.instance.as_deref(), Some("web1"));
    assert_eq!(config.control.unwrap().tokens.operator.unwrap().expose(), "0123456789abcdef");
    let options = ServeOptions { orders: Some("sqlite:o.db\n".into()), ..Default::default() };
    assert_eq!(load(&options, &[]).unwrap().orders.unwrap().to_string(), "sqlite:o.db");
    let url = redis_setting("redis://host\n", TlsOptions::default(), None).unwrap().url;
    assert_eq!(url.expose(), "redis://host");
}

#[test]
fn a_shown_configuration_can_be_loaded_again() {
    let (_file, options) = file(
        "listen = ['[::1]:0', 'unix:a.sock']\nledger = 'redis://host:1/2'\nsplits = 4\nstock = 50\n\
         stock-buffer = '20%'\ninstance = 'web1'\nlog = 'info,stampede=debug'\n\
         log-format = 'json'\nconnections-max = 9\nconnections-per-address = 3\n\
         trusted-proxies = ['10.0.0.0/8', '::1']\ndrain-delay = '3s'\ndrain-timeout = '0s'\nstat-log = '/dev/null'\n\
         redis-counters-key = 'x:{sale}'\n[[sale]]\nid = 'a'\ntotal = 5\nhold = '90s'\nlimit = 1\n\
         quantity = 2\nopens = 2030-01-01T10:00:00+08:00\ncloses = '2031-01-01T00:00:00Z'\n\
         [[sale]]\nid = 'b'\ntotal = 0\nsplits = 1\ntypes = { child = 5, adult = 6 }",
    );
    let first = load(&options, &[]).unwrap();
    let (_again, again) = file(&first.to_toml());
    let second = load(&again, &[]).unwrap();
    assert_eq!(first.sales, second.sales);
    assert_eq!(first.sales[0].1.opens_at_ms, 1_893_463_200_000);
    let splits: Vec<_> = first.sales.iter().map(|(_, spec)| spec.split.parts()).collect();
    assert_eq!(splits, [4, 1]);
    assert_eq!(first.sales[1].1.types.to_text(), "adult:6,child:5");
    let page = |config: &Config| {
        let lines = config.to_toml();
        let lines = lines.lines().map(|line| line.split("  # ").next().unwrap().trim().to_owned());
        lines.filter(|line| !line.starts_with("# config")).collect::<Vec<_>>()
    };
    assert_eq!(page(&first), page(&second));
}

#[test]
fn a_changed_control_address_keeps_its_tokens_until_restart() {
    let (file, options) = file("");
    let load = |text: &str| {
        std::fs::write(file.path(), text).unwrap();
        load(&options, &[]).unwrap()
    };
    let open = "control = '0.0.0.0:4006'\ncontrol-token = '0123456789abcdef'\n";
    let old = load(&format!("{open}read-token = 'looks-0123456789'"));
    // A control port on loopback needs no token; `off` has no control port.
    for new in ["control = '127.0.0.1:3006'", "control = 'off'"] {
        let new = load(new);
        let changes = old.changes(&new);
        assert_eq!(changes.applied, [""; 0]);
        assert_eq!(changes.need_restart, ["control", "control-token", "read-token"]);
        let now = old.with_applied(&new);
        assert_eq!(now.control, old.control);
        assert_eq!(now.changes(&new).need_restart, changes.need_restart, "told again");
    }
    let new = load(&format!("{open}read-token = 'looks-0123456780'"));
    assert_eq!(old.changes(&new).applied, ["read-token"]);
    assert_eq!(old.with_applied(&new).control, new.control);
}

#[test]
fn settings_with_several_values_are_lists_in_a_file() {
    for setting in SETTINGS.iter().filter(|setting| setting.separator.is_some()) {
        let (_file, options) = file(&format!("{} = ['x', 'y']", setting.name));
        let told = load(&options, &[]).unwrap_err().to_string();
        assert!(!told.contains("not a list") || setting.name == "sale", "{told}");
    }
}

#[test]
fn a_file_may_state_its_format_and_a_newer_one_is_refused() {
    let said = |format: &str| {
        let (_file, options) = file(&format!("format = {format}\nidle-timeout = '9m'"));
        load(&options, &[]).map(|config| config.idle_timeout_ms)
    };
    assert_eq!(said("1").unwrap(), 540_000);
    for (format, told) in
        [("2", "2 is the format of a newer version"), ("0", "must be 1"), ("'1'", "must be 1")]
    {
        let error = said(format).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(error.problems.len(), 1);
    }
}

#[test]
fn an_embedded_ledger_refuses_split_sales() {
    let options = ServeOptions { sale: vec!["a=1,splits=2".into()], ..Default::default() };
    let error = load(&options, &[("STAMPEDE_SPLITS", "4")]).unwrap_err().to_string();
    for told in
        ["STAMPEDE_SPLITS=4: only a sale in Redis", "--sale a=1,splits=2: only a sale in Redis"]
    {
        assert!(error.contains(told), "{told}\n{error}");
    }
    let whole = ServeOptions { sale: vec!["a=1,splits=1".into()], ..Default::default() };
    assert_eq!(load(&whole, &[]).unwrap().sales[0].1.split, Split::Whole);
}

#[test]
fn all_problems_are_reported_at_once() {
    let options = ServeOptions {
        stock: Some("0".into()),
        sale: vec!["a=1".into(), "a=2".into(), "b".into()],
        ..Default::default()
    };
    let error = load(&options, &[("STAMPEDE_CORES", "9"), ("STAMPEDE_LOG", "")]).unwrap_err();
    assert_eq!(error.problems.len(), 5, "{error}");
    let text = error.to_string();
    for told in [
        "--stock 0: must be a whole number from 1 to 1099511627776, or auto",
        "--sale a=2: the sale a is given twice",
        "--sale b: must be ID=TOTAL",
        "STAMPEDE_CORES=9: core 9 is not one that this process may use, 0-3",
        "STAMPEDE_LOG: is empty",
    ] {
        assert!(text.contains(told), "{told}\n{text}");
    }
}

#[test]
fn wrong_environment_values_are_refused() {
    for (name, value, told) in [
        ("STAMPEDE_LISTEN", "127.0.0.1:1,", "STAMPEDE_LISTEN=127.0.0.1:1,: has an empty part"),
        ("STAMPEDE_SALE", ";", "STAMPEDE_SALE=;: has an empty part"),
        ("STAMPEDE_LISTEN", "127.0.0.1:1,127.0.0.1:1", "127.0.0.1:1 is given twice"),
        ("STAMPEDE_CONFIG", "/no/such/file", "/no/such/file: can't read the configuration file"),
        ("STAMPEDE_WAITING_MAX", "0", "STAMPEDE_WAITING_MAX=0: must be a whole number from 1"),
        ("STAMPEDE_LEDGER", "rediss://u:hunter2@h/x", "the database in a Redis URL is a number"),
        ("STAMPEDE_REDIS_TOTAL_FIELD", "{sale}_sold_nums", "must be different fields"),
        (
            "STAMPEDE_STOCK_BUFFER",
            "0.5",
            "must be a whole number from 0 to 1000 and a %, as in 50%",
        ),
        ("STAMPEDE_INSTANCE", "a b", "must be 1 to 128 visible ASCII characters"),
        ("STAMPEDE_CONNECTIONS_MAX", "20000", "allows at most 19904"),
        ("STAMPEDE_REDIS_CA", "/no/such.pem", "STAMPEDE_REDIS_CA=/no/such.pem: can't be read"),
    ] {
        let error = load(&ServeOptions::default(), &[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(told), "{name}={value}: {error}");
        assert!(!error.contains("hunter2"));
    }
    use std::os::unix::ffi::OsStringExt;
    let odd = [("STAMPEDE_LOG".into(), OsString::from_vec(vec![0xff]))];
    let error = Config::load_from(&ServeOptions::default(), odd, &host()).unwrap_err();
    assert!(error.to_string().contains("STAMPEDE_LOG: is not valid UTF-8"));
}

#[test]
fn wrong_files_are_refused() {
    for (text, told) in [
        ("lisen = 'a'", "lisen: there is no such setting; did you mean listen?"),
        ("idle_timeout = '1s'", "did you mean idle-timeout?"),
        ("config = 'x'", "config: there is no such setting"),
        ("listen = []", "listen: must have at least one address"),
        ("log = true", "log: must be text or a whole number, not true or false"),
        ("idle-timeout = 75", "idle-timeout = 75: must be a whole number and a unit"),
        ("ledger = 'redis://u:hunter2@h", ":1:30: not valid TOML"),
        ("\n\nledger = 'redis://u:hunter2@h' x", ":3:"),
        ("sale = 'ticket=5'", "sale: must be tables"),
        ("sale = ['ticket=5']", "sale: must be tables"),
        ("[[sale]]\ntotal = 5", "sale: a [[sale]] without id"),
        ("[[sale]]\nid = 'a'", "sale: a [[sale]] without total"),
        ("[[sale]]\nid = 'a'\ntotal = 5\ntypes = {a = 'x'}", "the cap of a must be a whole number"),
        ("[[sale]]\nid = 'a'\ntotal = 5\ntypes = {A = 1}", "types must be NAME:CAP"),
        ("[[sale]]\nid = 'a'\ntotal = 5\ntypes = {'a:1+b' = 1}", "is no name of a ticket type"),
        ("[[sale]]\nid = 'a'\ntotal = -5", "sale = a=-5: total must be a whole number"),
        ("[[sale]]\nid = 'a'\ntotal = 5\nholds = '1s'", "did you mean hold?"),
        ("[[sale]]\nid = 'a=1,limit'\ntotal = 5", "can't be part of a name or value"),
        ("[[sale]]\nid = 'a'\ntotal = 5\nopens = 2030-01-01T10:00:00", "opens must be a time with"),
    ] {
        let (_file, options) = file(text);
        let error = load(&options, &[]).unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn suspicious_settings_give_warnings() {
    let pairs = [
        ("STAMPEDE_LISTN", "0.0.0.0:1"),
        ("STAMPEDE_SERVICE_HOST", "10.0.0.1"),
        ("STAMPEDE_REDIS_COUNTERS_KEY", "{sale}"),
        ("STAMPEDE_STOCK", "150"),
        ("STAMPEDE_STOCK_BUFFER", "50%"),
    ];
    let warnings = load(&ServeOptions::default(), &pairs).unwrap().warnings;
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].contains("did you mean STAMPEDE_LISTEN?"));
    assert!(warnings[1].contains("redis-counters-key has no effect"));
    assert!(warnings[2].contains("includes its buffer"));
}

#[test]
fn public_confirm_is_off_by_default_and_on_with_a_warning() {
    let default = load(&ServeOptions::default(), &[]).unwrap();
    assert!(!default.public_confirm && default.to_toml().contains("public-confirm = false "));
    for (text, on) in [("true", true), ("'on'", true), ("false", false), ("'off'", false)] {
        let (_file, options) = file(&format!("public-confirm = {text}"));
        let config = load(&options, &[]).unwrap();
        assert_eq!(config.public_confirm, on, "{text}");
        let warned = config.warnings.iter().any(|told| told.contains("public-confirm is on"));
        assert_eq!(warned, on, "{:?}", config.warnings);
        assert_eq!(
            load(&options, &[("STAMPEDE_PUBLIC_CONFIRM", "off")]).unwrap().warnings.len(),
            0
        );
    }
    let (_file, options) = file("public-confirm = 1");
    let error = load(&options, &[]).unwrap_err().to_string();
    assert!(error.contains("public-confirm = 1: must be on or off"), "{error}");
}

#[test]
fn a_certificate_authority_needs_tls() {
    let pem = tempfile::NamedTempFile::new().unwrap();
    let path = pem.path().to_str().unwrap().to_owned();
    let with = |ledger| {
        load(
            &ServeOptions::default(),
            &[("STAMPEDE_LEDGER", ledger), ("STAMPEDE_REDIS_CA", path.as_str())],
        )
    };
    assert!(with("rediss://host").unwrap_err().to_string().contains("has no certificate"));
    std::fs::write(&pem, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(
        matches!(with("rediss://host").unwrap().ledger, LedgerSetting::Redis(r) if r.files.ca.is_some())
    );
    assert!(with("redis://host").unwrap_err().to_string().contains("only of use with"));
}

#[test]
fn sentinels_may_have_their_own_login() {
    let pairs = [
        ("STAMPEDE_LEDGER", "redis-sentinel://u:hunter2@a,b:1/m"),
        ("STAMPEDE_REDIS_WAIT", "2"),
        ("STAMPEDE_REDIS_SENTINEL_USER", "ann"),
        ("STAMPEDE_REDIS_SENTINEL_PASSWORD", "hunter3"),
    ];
    let config = load(&ServeOptions::default(), &pairs).unwrap();
    let shown = format!("{config:?}\n{}", config.to_toml());
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(shown.contains("redis-wait = 2") && shown.contains("redis-sentinel-user = \"ann\""));
    let LedgerSetting::Redis(redis) = config.ledger else { panic!() };
    let login = redis.sentinel_login.unwrap();
    assert_eq!((redis.replicas, login.password.reveal()), (2, "hunter3"));
    let error = load(&ServeOptions::default(), &pairs[..3]).unwrap_err().to_string();
    assert!(error.contains("STAMPEDE_REDIS_SENTINEL_USER=ann: needs its password"), "{error}");
    let warned = load(&ServeOptions::default(), &pairs[1..]).unwrap().warnings;
    assert_eq!(warned.len(), 3, "{warned:?}");
}

#[test]
fn a_restored_ledger_needs_its_whole_id() {
    let id = "0123456789abcdef0123456789ABCDEF";
    let (_file, options) = file(&format!("restored-ledger = '{id}'"));
    let shown = load(&options, &[]).unwrap().to_toml();
    assert!(shown.contains(&format!("restored-ledger = \"{}\"", id.to_lowercase())), "{shown}");
    for text in [&id[1..], "yes", "+123456789abcdef0123456789abcdef"] {
        let (_file, options) = file(&format!("restored-ledger = '{text}'"));
        let error = load(&options, &[]).unwrap_err().to_string();
        assert!(error.contains("32 hexadecimal digits"), "{error}");
    }
    let (_file, options) = file(&format!("restored-ledger = '{id}'\nledger = 'redis://host'"));
    assert!(load(&options, &[]).unwrap_err().to_string().contains("embedded ledger only"));
}

#[test]
fn orders_need_an_embedded_ledger_and_hide_the_password() {
    let url = "postgres://ann:hunter2@host/shop?sslmode=require";
    let config = load(&ServeOptions::default(), &[("STAMPEDE_ORDERS", url)]).unwrap();
    let shown = config.to_toml();
    assert!(shown.contains("orders = \"postgres://ann:***@host/shop?***\""), "{shown}");
    assert!(!format!("{config:?}{shown}").contains("hunter2"));
    let (_file, options) = file("orders = 'sqlite:orders.db'\nledger = 'redis://host'");
    let error = load(&options, &[]).unwrap_err().to_string();
    assert!(error.contains("run `stampede orders`"), "{error}");
    let error = load(&ServeOptions::default(), &[("STAMPEDE_ORDERS", "mysql://u:hunter2@h")]);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("must be postgres://") && !error.contains("hunter2"), "{error}");
}
