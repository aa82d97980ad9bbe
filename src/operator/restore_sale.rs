//! `stampede sale restore`: restores a sale from a file of `sale archive`.
//!
//! The command reads and checks the whole file before it uses a ledger. A sale in one part appears in one
//! step. Of a split sale the head is written last, and the sale is unknown until then.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::archive::ARCHIVE_FORMAT;
use super::arguments::quoted;
use super::common::{audit_offline, ledger_setting};
use super::failure::Failure;
use super::progress::Progress;
use crate::cli::OperatorOptions;
use crate::clock::{parse_rfc3339, wall_ms};
use crate::config::{LedgerSetting, RedisSetting};
use crate::ledger::LedgerError;
use crate::ledger::client::Client;
use crate::ledger::copy::SaleCopy;
use crate::ledger::embedded::OfflineClient;
use crate::ledger::redis::{Arrival, EntryId, RedisClient};
use crate::limits::{
    ARCHIVE_LINE_BYTES_MAX, CREATION_MAX, EXTEND_MAX_MS_DEFAULT, HOLD_MS_MAX, QUANTITY_MAX,
    TIME_MS_MAX, TOTAL_MAX,
};
use crate::sale::{
    Change, Creation, Details, Key, Lines, Note, Reservation, ReservationId, Rules, SaleId,
    SaleSpec, SaleView, Split, Status, Transfers, TypeName, Types, TypesError, User, count_by_type,
};

/// Restores the sale of an archive, audits it, and prints the result.
pub(super) fn restore(
    from: &str,
    options: &OperatorOptions,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if options.ledger.is_none() && !options.direct {
        return Err(Failure::Usage(
            "sale restore opens a ledger directly: name one with --ledger, or use that of the \
             settings with --direct. Stop the server of an embedded ledger first"
                .into(),
        ));
    }
    let archive = read(from)?;
    let (id, count) = (archive.id.clone(), archive.count());
    let setting = ledger_setting(options.ledger.as_deref(), options.config.as_deref())?;
    let mut client = match &setting {
        LedgerSetting::Embedded(folder) => into_embedded(folder, archive)?,
        LedgerSetting::Redis(redis) => into_redis(redis, &setting, archive)?,
    };
    let report = audit_offline(&mut *client, None, std::slice::from_ref(&id)).map_err(|why| {
        Failure::Failed(format!("{id} is restored, and could not be audited: {why}"))
    })?;
    if options.json {
        let summary = json!({ "id": id.as_str(), "restored": count, "audit": report });
        writeln!(out, "{summary}")?;
    } else {
        writeln!(out, "{id}: the sale and {count} reservations are in {setting}")?;
        write!(out, "{report}")?;
    }
    if report.agrees() {
        return Ok(());
    }
    Err(Failure::Failed(format!("{id} is restored, and does not pass the audit: see the table")))
}

fn into_embedded(folder: &Path, archive: Archive) -> Result<Box<dyn Client>, Failure> {
    if archive.spec.split != Split::Whole {
        return Err(Failure::Usage(format!(
            "{}: the sale has {} parts, and an embedded ledger can't split a sale. Use redis://…",
            archive.id,
            archive.spec.split.parts()
        )));
    }
    let mut client = OfflineClient::open(folder, false)
        .map_err(|error| Failure::Failed(format!("embedded:{}: {error}", folder.display())))?;
    let places = archive.into_places();
    client.take_in(&places).map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(Box::new(client))
}

fn into_redis(
    redis: &RedisSetting,
    setting: &LedgerSetting,
    archive: Archive,
) -> Result<Box<dyn Client>, Failure> {
    let failed = |why: String| Failure::Failed(format!("{setting}: {why}"));
    let ledger = redis.ledger().map_err(failed)?;
    let mut client = RedisClient::new(Arc::new(ledger), "stampede-restore");
    // The fingerprint finds an interrupted attempt with the same archive.
    let (brought_by, whole) = (archive.fingerprint, archive.id.clone());
    let places = archive.into_places();
    let away =
        |error: LedgerError| failed(format!("{error}. Run the same command again to resume"));
    let mut absent = Vec::new();
    for place in &places {
        match client.arrival(&place.id, brought_by).map_err(away)? {
            Arrival::Absent => absent.push(place),
            // The interrupted command may not have waited for the replicas.
            Arrival::Here => client.settle_arrival(&place.id, brought_by).map_err(away)?,
            Arrival::Occupied => {
                return Err(failed(format!(
                    "there is a sale {whole} already, or some of its keys ({}): nothing was \
                     overwritten",
                    place.id
                )));
            }
        }
    }
    let mut progress = Progress::new("restore", "reservations");
    for place in absent {
        client
            .bring(place, brought_by, &mut |done, total| progress.report(done, total))
            .map_err(away)?;
    }
    Ok(Box::new(client))
}

/// The content of an archive.
struct Archive {
    id: SaleId,
    /// With all units of the sale.
    spec: SaleSpec,
    /// Of the sale, or of each of its parts.
    reservations: BTreeMap<SaleId, Vec<Change>>,
    /// Tells it from any other archive.
    fingerprint: u64,
    /// The time of its last change.
    last_ms: u64,
}

impl Archive {
    fn count(&self) -> u64 {
        self.reservations.values().map(|list| list.len() as u64).sum()
    }

    /// The sale as a ledger keeps it, the head of one in parts last. Its parts have the units that
    /// they have sold, and the head those that are left.
    fn into_places(mut self) -> Vec<SaleCopy> {
        let parts = match self.spec.split {
            Split::Head { parts } => parts,
            Split::Whole | Split::Part { .. } => 0,
        };
        // A new creation number: no server can know it.
        let creation = match parts {
            0 => Creation::UNKNOWN,
            _ => Creation((self.last_ms * 1000 + self.fingerprint % 1000).min(CREATION_MAX)),
        };
        let (mut head, mut moves) = (self.spec.clone(), Transfers::none(self.spec.split));
        let mut places = Vec::new();
        for number in 1..=parts {
            let Some(id) = self.id.part(number, parts) else { continue };
            let reservations = self.reservations.remove(&id).unwrap_or_default();
            let mut place = place(id, self.spec.clone(), reservations, creation);
            let view = &mut place.view;
            let confirmed = view.confirmed;
            (view.spec.split, view.spec.total) = (Split::Part { of: parts }, confirmed);
            view.transfers = Transfers::none(view.spec.split);
            view.transfers.received[0] = confirmed;
            moves.sent[number as usize] = confirmed;
            head.total = head.total.saturating_sub(confirmed);
            places.push(place);
        }
        moves.stock = (parts > 0).then_some(self.spec.total);
        let rest = self.reservations.remove(&self.id).unwrap_or_default();
        let mut whole = place(self.id, head, rest, creation);
        whole.view.transfers = moves;
        places.push(whole);
        places
    }
}

/// One place of a sale that is over.
fn place(id: SaleId, spec: SaleSpec, reservations: Vec<Change>, creation: Creation) -> SaleCopy {
    let units = |status: Status| -> u64 {
        let rows = reservations.iter().map(|change| &change.reservation);
        rows.filter(|row| row.status == status).map(|row| u64::from(row.quantity)).sum()
    };
    let (held, confirmed) = (units(Status::Held), units(Status::Confirmed));
    let now_ms = reservations.iter().map(|change| change.at_ms).max().unwrap_or(0);
    // It was closed then, and must be so by its own time.
    let now_ms = now_ms.max(spec.closes_at_ms);
    // The check of the whole sale reports wrong lines.
    let by_type = count_by_type(&spec.types, reservations.iter().map(|change| &change.reservation));
    let by_type = by_type.unwrap_or_default();
    let moves = Transfers::default();
    let view = SaleView { spec, held, confirmed, by_type, now_ms, transfers: moves, creation };
    SaleCopy { id, view, reservations }
}

/// The first line.
#[derive(Deserialize)]
struct SaleLine {
    id: String,
    total: u64,
    held: u64,
    confirmed: u64,
    limit_per_user: Option<u32>,
    quantity_max: u32,
    quantity_min: Option<u32>,
    extend_max_ms: Option<u64>,
    reservations_max: Option<u64>,
    reservations_per_user_max: Option<u32>,
    hold_ms: u64,
    opens_at: Option<String>,
    closes_at: Option<String>,
    types: Option<BTreeMap<String, TypeLine>>,
    splits: Option<u32>,
}

/// A ticket type in it.
#[derive(Deserialize)]
struct TypeLine {
    cap: u64,
}

/// A reservation's line.
#[derive(Deserialize)]
struct ReservationLine {
    id: String,
    user: Option<String>,
    key: Option<String>,
    quantity: u32,
    status: String,
    expires_at: String,
    lines: Option<BTreeMap<String, u32>>,
    quantity_asked: Option<u32>,
    lines_asked: Option<BTreeMap<String, u32>>,
    first_expires_at: Option<String>,
    note: Option<String>,
    changed_at: Option<String>,
}

/// The last line.
#[derive(Deserialize)]
struct EndLine {
    archive: u64,
    reservations: u64,
    checksum: String,
}

/// Reads an archive, whole, and checks it.
fn read(from: &str) -> Result<Archive, Failure> {
    let wrong = |why: String| Failure::Usage(format!("--from {}: {why}", quoted(from)));
    let file = File::open(from).map_err(|error| wrong(error.to_string()))?;
    let mut lines =
        FileLines { input: BufReader::new(file), number: 0, hasher: Default::default() };
    let mut archive: Option<(Archive, u64)> = None;
    let mut end = None;
    while let Some((line, checksum)) = lines.next().map_err(&wrong)? {
        let here = |why: String| wrong(format!("line {}: {why}", lines.number));
        if end.is_some() {
            return Err(here("there are lines after the last line".into()));
        }
        let value: Value = serde_json::from_str(&line).map_err(|error| here(error.to_string()))?;
        let Some((archive, _)) = &mut archive else {
            archive = Some(begin(value).map_err(here)?);
            continue;
        };
        if value.get("archive").is_some() {
            let last: EndLine =
                serde_json::from_value(value).map_err(|error| here(error.to_string()))?;
            if last.archive > ARCHIVE_FORMAT {
                return Err(here(format!(
                    "the archive has format {}, and this version of stampede reads up to {ARCHIVE_FORMAT}: use a \
                     newer version",
                    last.archive
                )));
            }
            let (count, sum) = (archive.count(), format!("{checksum:08x}"));
            if (last.reservations, &last.checksum) != (count, &sum) {
                return Err(here(format!(
                    "{} reservations with checksum {} were written, and there are {count} with {sum}: \
                     it was changed or damaged",
                    last.reservations, last.checksum
                )));
            }
            end = Some(());
            continue;
        }
        let change = change(&archive.spec, value).map_err(here)?;
        if change.sale.whole() != archive.id {
            return Err(here(format!("a reservation of the sale {}", change.sale)));
        }
        archive.last_ms = archive.last_ms.max(change.at_ms);
        archive.reservations.entry(change.sale.clone()).or_default().push(change);
    }
    let Some((mut archive, sold)) = archive else {
        return Err(wrong("the file is empty".into()));
    };
    archive.fingerprint = lines.fingerprint();
    let version = EntryId::last_version_of_ms(wall_ms().max(archive.last_ms));
    let mut confirmed = 0;
    for (id, list) in &mut archive.reservations {
        // Above every version that a ledger has published.
        list.iter_mut().for_each(|change| change.version = version);
        if id.part_number().map(|(_, of)| of).unwrap_or(1) != archive.spec.split.parts() {
            return Err(wrong(format!(
                "it has reservations of {id}, which is no part of the sale"
            )));
        }
        let copy = place(id.clone(), archive.spec.clone(), list.clone(), Creation::UNKNOWN);
        copy.check().map_err(|why| wrong(format!("{id}: {why}")))?;
        if copy.view.held > 0 {
            return Err(wrong(format!(
                "{} units of {id} are held, and the sale was over",
                copy.view.held
            )));
        }
        confirmed += copy.view.confirmed;
    }
    if confirmed != sold || confirmed > archive.spec.total {
        return Err(wrong(format!(
            "its reservations come to {confirmed} units confirmed of {}, and its first line says \
             {sold}: lines are missing",
            archive.spec.total
        )));
    }
    if end.is_none() {
        // Versions before 0.2.0 wrote no end.
        let text = "the archive has no last line with a checksum: only its counts were checked";
        let _ = writeln!(io::stderr().lock(), "{from}: {text}");
    }
    Ok(archive)
}

/// Reads the first line: the sale, and how many of its units were confirmed.
fn begin(value: Value) -> Result<(Archive, u64), String> {
    let line: SaleLine = serde_json::from_value(value)
        .map_err(|error| format!("{error}: the first line of an archive is the sale"))?;
    let id = SaleId::new(&line.id).map_err(|error| error.to_string())?;
    let time = |text: &Option<String>, none: u64| match text {
        None => Ok(none),
        Some(text) => parse_rfc3339(text).ok_or_else(|| format!("{text:?} is no time")),
    };
    let parts = line.splits.unwrap_or(1);
    let types = line.types.unwrap_or_default();
    let types = types.iter().map(|(name, line)| Ok((TypeName::new(name)?, line.cap)));
    let types = types.collect::<Result<Vec<_>, TypesError>>().and_then(Types::new);
    let spec = SaleSpec {
        total: line.total,
        opens_at_ms: time(&line.opens_at, 0)?,
        closes_at_ms: time(&line.closes_at, TIME_MS_MAX)?,
        limit_per_user: line.limit_per_user.unwrap_or(0),
        hold_ms: line.hold_ms,
        quantity_max: line.quantity_max,
        split: Split::into_parts(parts),
        rules: Rules {
            extend_max_ms: line.extend_max_ms.unwrap_or(EXTEND_MAX_MS_DEFAULT),
            quantity_min: line.quantity_min.unwrap_or(1),
            reservations_max: line.reservations_max,
            reservations_per_user_max: line.reservations_per_user_max.unwrap_or(0),
        },
        types: types.map_err(|error| error.to_string())?,
        plan: None,
    };
    // One that was closed before it opened would not pass the check of a new one.
    let checked = SaleSpec { opens_at_ms: 0, closes_at_ms: TIME_MS_MAX, ..spec.clone() };
    checked.check().map_err(|error| error.to_string())?;
    debug_assert!(spec.total <= TOTAL_MAX && spec.hold_ms <= HOLD_MS_MAX);
    if spec.closes_at_ms > wall_ms() || line.held > 0 {
        return Err("the sale was not over: it was not closed, or units were held".into());
    }
    let (reservations, fingerprint) = (BTreeMap::new(), 0);
    let archive = Archive { id, last_ms: spec.closes_at_ms, spec, reservations, fingerprint };
    Ok((archive, line.confirmed))
}

/// The lines of a reservation with this many units.
fn lines_of(
    lines: &Option<BTreeMap<String, u32>>,
    quantity: Option<u32>,
) -> Result<Option<Lines>, String> {
    let Some(lines) = lines else { return Ok(None) };
    let named = lines.iter().map(|(name, quantity)| Ok((TypeName::new(name)?, *quantity)));
    let lines = named.collect::<Result<Vec<_>, TypesError>>().and_then(Lines::new);
    let lines = lines.map_err(|error| error.to_string())?;
    match Some(lines.units()) == quantity {
        true => Ok(Some(lines)),
        false => Err("the lines add up to another quantity".to_owned()),
    }
}

fn change(spec: &SaleSpec, value: Value) -> Result<Change, String> {
    let line: ReservationLine = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let (sale, id) = ReservationId::from_public(&line.id).map_err(|error| error.to_string())?;
    let user = line.user.as_deref().map(User::new).transpose();
    let key = line.key.as_deref().map(Key::new).transpose();
    let time = |text: &str| parse_rfc3339(text).ok_or_else(|| format!("{text:?} is no time"));
    let status = Status::from_name(&line.status);
    let status = status.ok_or_else(|| format!("{:?} is no status", line.status))?;
    if !(1..=QUANTITY_MAX).contains(&line.quantity) {
        return Err(format!("{} is no quantity", line.quantity));
    }
    let expires_at_ms = time(&line.expires_at)?;
    let asked = line.quantity_asked;
    if asked.is_some_and(|asked| asked > QUANTITY_MAX || asked < line.quantity) {
        return Err("quantity_asked is less than quantity, or more than any may have".into());
    }
    let note = line.note.as_deref().map(Note::new).transpose();
    let lines = lines_of(&line.lines, Some(line.quantity))?;
    let asked_lines = lines_of(&line.lines_asked, asked)?;
    let details = Details {
        lines,
        asked_lines,
        asked,
        ride: None,
        first_expires_at_ms: line.first_expires_at.as_deref().map(time).transpose()?,
        note: note.map_err(|error| error.to_string())?,
    };
    let at_ms = match &line.changed_at {
        Some(text) => time(text)?,
        None => expires_at_ms.saturating_sub(spec.hold_ms),
    };
    let reservation = Reservation {
        id,
        user: user.map_err(|error| error.to_string())?,
        quantity: line.quantity,
        status,
        expires_at_ms,
        details: details.boxed(),
    };
    let key = key.map_err(|error| error.to_string())?;
    Ok(Change { sale, reservation, key, trace: None, at_ms, version: 0 })
}

/// The lines of an archive, each with the checksum of all before it.
struct FileLines {
    input: BufReader<File>,
    number: u64,
    hasher: crc32fast::Hasher,
}

impl FileLines {
    fn next(&mut self) -> Result<Option<(String, u32)>, String> {
        let (mut line, before) = (Vec::new(), self.hasher.clone().finalize());
        let mut limited = self.input.by_ref().take(ARCHIVE_LINE_BYTES_MAX as u64);
        limited.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        self.hasher.update(&line);
        if line.pop() != Some(b'\n') {
            return Err(format!(
                "line {} has no end: the file is cut off, or no archive",
                self.number
            ));
        }
        let text = String::from_utf8(line);
        let text = text.map_err(|_| format!("line {} is not UTF-8", self.number))?;
        Ok(Some((text, before)))
    }

    fn fingerprint(&self) -> u64 {
        let sum = self.hasher.clone().finalize();
        u64::from(sum) << 32
            | u64::from(crc32fast::hash(
                &[&sum.to_le_bytes()[..], &self.number.to_le_bytes()].concat(),
            ))
    }
}
