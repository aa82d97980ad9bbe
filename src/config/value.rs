//! Parses the text of a single setting. Each error gives the right form. The caller adds the name of
//! the setting and its value.

use std::fs::OpenOptions;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};
use rustix::io::Errno;

use crate::duration::{format_duration, parse_duration};
use crate::limits::{MEMBER_NAME_BYTES_MAX, STOCK_BUFFER_PERCENT_MAX, TOTAL_MAX};
use crate::logging::{LogFormat, check_filter};
use crate::stat_log::Standard;
use crate::stock::StockSetting;

/// A whole number in decimal digits, within a range.
pub fn whole_number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && (min..=max).contains(&number) => Ok(number),
        _ => {
            let plain: String = text.chars().filter(|c| !SEPARATORS.contains(c)).collect();
            let is_grouped = plain.len() < text.len() && whole_number(&plain, min, max).is_ok();
            let hint = if is_grouped { format!("; write {plain}") } else { String::new() };
            Err(format!("must be a whole number from {min} to {max}{hint}"))
        }
    }
}

/// Characters that people write between the digits of a number.
const SEPARATORS: [char; 5] = ['_', ',', '.', ' ', '\''];

/// A duration in ms from `min` to `max`.
pub fn duration_within(text: &str, (min, max): (u64, u64)) -> Result<u64, String> {
    let value_ms = parse_duration(text)?;
    if (min..=max).contains(&value_ms) {
        Ok(value_ms)
    } else {
        Err(format!("must be from {} to {}", format_duration(min), format_duration(max)))
    }
}

/// The addresses of a `HOST:PORT`. `shape` is the error of any other text.
pub(super) fn addresses(text: &str, shape: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let (host, port) = text.rsplit_once(':').ok_or(shape)?;
    if host.contains(':') && !host.contains(['[', ']', '/', '@']) {
        return Err(format!("write an IPv6 address in brackets, as in [{host}]:{port}"));
    }
    if host.is_empty() || host.contains(['[', ']', ':', '/', '@']) {
        return Err(shape.into());
    }
    let port =
        whole_number(port, 0, u16::MAX.into()).map_err(|problem| format!("the port {problem}"))?;
    let found = (host, port as u16)
        .to_socket_addrs()
        .map_err(|error| format!("the name {host} can't be resolved: {error}"))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // A name often has addresses that this machine lacks, such as ::1 of localhost.
    if addresses.len() > 1 {
        let here = |a: &SocketAddr| TcpListener::bind((a.ip(), 0)).is_ok();
        let own: Vec<_> = addresses.iter().copied().filter(here).collect();
        if !own.is_empty() {
            addresses = own;
        }
    }
    if addresses.is_empty() {
        Err(format!("the name {host} has no address"))
    } else {
        Ok(addresses)
    }
}

/// The cores of a list such as `0-3,6`, out of those `allowed`.
pub(super) fn cores(text: &str, allowed: &[usize]) -> Result<Vec<usize>, String> {
    let shape = || format!("must be a list such as 0-3,6 out of {}", format_cores(allowed));
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| whole_number(text.trim(), 0, u32::MAX.into()).ok();
        let (first, last) = number(first).zip(number(last)).ok_or_else(shape)?;
        if first > last {
            return Err(format!("{part} runs backwards; {}", shape()));
        }
        for core in first as usize..=last as usize {
            if !allowed.contains(&core) {
                // `--cores 2` is often meant as a number of cores.
                let hint = match allowed.get(..core) {
                    Some(many) if text == core.to_string() && core > 0 => {
                        format!("; for {core} cores write {}", format_cores(many))
                    }
                    _ => String::new(),
                };
                return Err(format!(
                    "core {core} is not one that this process may use, {}{hint}",
                    format_cores(allowed)
                ));
            }
            if cores.contains(&core) {
                return Err(format!("core {core} is given twice"));
            }
            cores.push(core);
        }
    }
    Ok(cores)
}

/// Cores as a list such as `0-3,6`, in their order.
pub(super) fn format_cores(cores: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => runs.push((core, core)),
        }
    }
    let run = |(a, b)| if a == b { format!("{a}") } else { format!("{a}-{b}") };
    runs.into_iter().map(run).collect::<Vec<_>>().join(",")
}

/// `auto` or a number.
pub(super) fn stock(text: &str) -> Result<StockSetting, String> {
    if text == "auto" {
        return Ok(StockSetting::Auto);
    }
    whole_number(text, 1, TOTAL_MAX)
        .map(StockSetting::Fixed)
        .map_err(|problem| format!("{problem}, or auto"))
}

/// `on` or `off`.
pub(super) fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err("must be on or off".into()),
    }
}

/// A percentage.
pub(super) fn stock_buffer(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix('%').unwrap_or_default();
    whole_number(number, 0, STOCK_BUFFER_PERCENT_MAX)
        .map_err(|problem| format!("{problem} and a %, as in 50%"))
}

/// The name of an instance: visible ASCII characters.
pub(super) fn instance_name(text: &str) -> Result<String, String> {
    let fits = (1..=MEMBER_NAME_BYTES_MAX).contains(&text.len());
    if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!("must be 1 to {MEMBER_NAME_BYTES_MAX} visible ASCII characters, as in web1:3005"))
}

/// A file that exists and takes lines, or that can be created.
pub(super) fn stat_log(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("must be the path of a file".into());
    }
    let path = PathBuf::from(text);
    let wrong = |error: io::Error| format!("can't be appended to: {error}");
    let is = |error: &io::Error, errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    if let Ok(metadata) = path.metadata() {
        let kind = metadata.file_type();
        if kind.is_socket() {
            let ours = Standard::named(&path).is_some();
            return ours.then_some(path).ok_or_else(|| "can't be appended to: is a socket".into());
        }
        // NONBLOCK: do not wait for the reader of a FIFO. A FIFO without a reader is no error here.
        let opened = OpenOptions::new()
            .append(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(&path);
        match opened {
            Err(error) if kind.is_fifo() && is(&error, Errno::NXIO) => return Ok(path),
            Err(error) => return Err(wrong(error)),
            Ok(_) => return Ok(path),
        }
    }
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    may_write(folder)
        .map_err(|error| format!("can't be created in {}: {error}", folder.display()))?;
    Ok(path)
}

/// Checks that the process may create files in a folder. Creates none.
pub(super) fn may_write(folder: &Path) -> io::Result<()> {
    if !folder.metadata()?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(accessat(CWD, folder, access, AtFlags::EACCESS)?)
}

/// Default log filter.
pub const LOG_FILTER_DEFAULT: &str = "info";

/// A level, or a filter of `tracing`.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let shape = "must be error, warn, info, debug, trace or off, \
                 or a filter such as info,stampede::ledger=debug";
    // `tracing` would read a bare word that is no level as a module, and silence everything else.
    let is_bare = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let is_level = |part: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part));
    // `tracing` takes a target without a name, or without a level after its `=`.
    let is_unfinished = |part: &str| {
        let target = part.split(['=', '[']).next().unwrap_or_default();
        part.ends_with('=') || target.ends_with(':') || target.starts_with(':')
    };
    let mut parts = text.split(',').map(str::trim);
    if parts.any(|part| is_unfinished(part) || (is_bare(part) && !is_level(part))) {
        return Err(shape.into());
    }
    match check_filter(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(format!("{shape} ({error})")),
    }
}

/// `text`, `json` or `journal`.
pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        "journal" => Ok(LogFormat::Journal),
        _ => Err("must be text, json or journal".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_parsed() {
        for (text, percent) in [("0%", 0), ("50%", 50), ("1000%", 1000)] {
            assert_eq!(stock_buffer(text), Ok(percent));
        }
        for bad in ["", "%", "50", "0.5", "-1%", "1001%", "5 %"] {
            assert!(stock_buffer(bad).unwrap_err().contains("as in 50%"), "{bad}");
        }
    }

    #[test]
    fn near_misses_are_answered_with_the_right_form() {
        let wrong = |text| whole_number(text, 0, 20_000).unwrap_err();
        assert!(wrong("10_000").ends_with("from 0 to 20000; write 10000"));
        assert!(wrong("10.000").ends_with("write 10000"));
        assert!(wrong("90_000").ends_with("20000") && wrong("ten").ends_with("20000"));
        let wrong = addresses("::1:3005", "shape").unwrap_err();
        assert_eq!(wrong, "write an IPv6 address in brackets, as in [::1]:3005");
    }

    #[test]
    fn instance_names_are_checked() {
        for good in ["a", "web1:3005", "[::1]:3005", "eu/10.0.0.5"] {
            assert_eq!(instance_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "a b", "a\n", "ü", &"a".repeat(MEMBER_NAME_BYTES_MAX + 1)] {
            assert!(instance_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn core_lists_are_parsed() {
        let allowed = [0, 1, 2, 3, 6];
        assert_eq!(cores("0-3,6", &allowed), Ok(vec![0, 1, 2, 3, 6]));
        assert_eq!(cores("6, 1", &allowed), Ok(vec![6, 1]));
        assert_eq!(format_cores(&allowed), "0-3,6");
        for (bad, told) in [
            ("", "must be a list"),
            ("a", "must be a list"),
            ("1,", "must be a list"),
            ("1-", "must be a list"),
            ("-1", "must be a list"),
            ("3-1", "runs backwards"),
            ("4", "may use, 0-3,6; for 4 cores write 0-3"),
            ("0-4294967295", "core 4 is not one that this process may use, 0-3,6"),
            ("1,0-2", "core 1 is given twice"),
        ] {
            assert!(cores(bad, &allowed).unwrap_err().contains(told), "{bad}");
        }
    }

    #[test]
    fn log_filters_are_checked() {
        for good in ["info", "WARN", "off", "info,stampede::ledger=debug", "stampede=trace"] {
            assert!(log_filter(good).is_ok(), "{good}");
        }
        for bad in ["", "verbose", "info,verbose", "a=loud", "info,", "info,a::=", "a=", "::a=info"]
        {
            assert!(log_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stat_log_paths_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stat.log");
        assert_eq!(stat_log(path.to_str().unwrap()), Ok(path.clone()));
        assert!(!path.exists(), "a check creates nothing");
        assert!(stat_log(folder.path().to_str().unwrap()).is_err());
        assert!(stat_log(folder.path().join("no/such/file").to_str().unwrap()).is_err());
        assert!(stat_log("").is_err());
    }
}
