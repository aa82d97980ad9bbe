//! The keys of a sale in Redis: the counters' hash, whose names are settings, and the keys beside
//! it, which share its slot.

use super::hash_slot::{hash_tag, slot_of};
use crate::sale::SaleId;

const PLACEHOLDER: &str = "{sale}";

/// The prefix of the index of sales. The template of the counters' key follows.
const INDEX_PREFIX: &str = "stampede:sales:";

/// The name, or the prefix of the name, of a consumer group that reads the sales' streams for
/// webhooks. An audit uses it to tell such a group from one whose worker writes orders.
pub const WEBHOOKS_GROUP: &str = "webhooks";

/// Whether a consumer group reads for webhooks.
pub fn is_of_webhooks(group: &str) -> bool {
    group.starts_with(WEBHOOKS_GROUP)
}

/// A name with a placeholder for the sale's id.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template {
    /// The text around each placeholder.
    pieces: Box<[Box<str>]>,
}

impl Template {
    fn new(text: &str) -> Self {
        Self { pieces: text.split(PLACEHOLDER).map(Into::into).collect() }
    }

    fn names_the_sale(&self) -> bool {
        self.pieces.len() > 1
    }

    fn fill(&self, sale: &SaleId, out: &mut String) {
        for (i, piece) in self.pieces.iter().enumerate() {
            if i > 0 {
                out.push_str(sale.as_str());
            }
            out.push_str(piece);
        }
    }
}

/// Why names are not accepted. The text says which names would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Two sales would share one hash.
    #[error("the counters' key must have {{sale}} in it, as in {{sale}}_hash_key, not {0:?}")]
    NoSale(String),
    /// Redis Cluster would place the sale's other keys on other slots.
    #[error(
        "the counters' key may have braces only around a hash tag, as in {{{{sale}}}}, not {0:?}"
    )]
    Braces(String),
    /// One field for two numbers, or no name.
    #[error("the fields of the total and of what is sold must have two names, not {0:?} and {1:?}")]
    Fields(String, String),
}

/// The number of keys that a script gets.
pub(super) const KEYS: usize = 7;

/// The suffixes of the other keys after the counters' key, in the order of a script's `KEYS`.
const SUFFIXES: [&str; KEYS - 1] =
    [":sale", ":reservations", ":claims", ":users", ":deadlines", ":stream"];

/// The names of a sale's keys and of the fields of its counters.
///
/// `{sale}` is the placeholder for the sale's id. Each other key is the counters' key in braces, a
/// colon and a word for its contents, so that Redis Cluster puts it into the same slot. If the
/// counters' key has a hash tag of its own, there are no further braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTemplates {
    counters: Template,
    total_field: Template,
    sold_field: Template,
    tagged: bool,
}

impl Default for KeyTemplates {
    /// The article's names.
    fn default() -> Self {
        Self {
            counters: Template::new("{sale}_hash_key"),
            total_field: Template::new("{sale}_total_nums"),
            sold_field: Template::new("{sale}_sold_nums"),
            tagged: false,
        }
    }
}

impl KeyTemplates {
    /// From the key of the counters' hash, its field with the total and its field with the sold
    /// units.
    pub fn new(counters: &str, total_field: &str, sold_field: &str) -> Result<Self, KeysError> {
        let template = Template::new(counters);
        if !template.names_the_sale() {
            return Err(KeysError::NoSale(counters.to_owned()));
        }
        let example = counters.replace(PLACEHOLDER, "s");
        let tagged = hash_tag(example.as_bytes()).is_some();
        if !tagged && example.contains(['{', '}']) {
            return Err(KeysError::Braces(counters.to_owned()));
        }
        if total_field == sold_field || total_field.is_empty() || sold_field.is_empty() {
            return Err(KeysError::Fields(total_field.to_owned(), sold_field.to_owned()));
        }
        Ok(Self {
            counters: template,
            total_field: Template::new(total_field),
            sold_field: Template::new(sold_field),
            tagged,
        })
    }

    /// The key of the index: a set with the ids of all sales that have these names.
    pub fn index(&self) -> String {
        INDEX_PREFIX.to_owned() + &self.counters.pieces.join(PLACEHOLDER)
    }

    /// The key beside the index: a set with the names of the groups that read the sales' streams.
    pub fn groups(&self) -> String {
        self.index() + ":groups"
    }

    /// The key beside the index: a stream with the ids of the sales that were created last.
    pub fn made(&self) -> String {
        self.index() + ":made"
    }

    /// The key beside the index: a hash with what the servers that share the ledger publish.
    pub fn members(&self) -> String {
        self.index() + ":members"
    }

    /// The key beside the index: a sorted set with the ends of their leases.
    pub fn leases(&self) -> String {
        self.index() + ":leases"
    }

    /// The key beside the index: a sorted set with the sales that were removed, and when.
    pub fn removed(&self) -> String {
        self.index() + ":removed"
    }

    /// A pattern for `SCAN` that matches every key beside a sale's counters, and other keys.
    pub fn pattern(&self) -> String {
        let mut pattern = String::new();
        for (i, piece) in self.counters.pieces.iter().enumerate() {
            if i > 0 {
                pattern.push('*');
            }
            for c in piece.chars() {
                if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                    pattern.push('\\');
                }
                pattern.push(c);
            }
        }
        let (open, close) = braces(self.tagged);
        [open, &pattern, close, ":*"].concat()
    }

    /// The sale to which a key belongs. `None`: it belongs to none.
    pub fn sale_of(&self, key: &[u8]) -> Option<SaleId> {
        let key = str::from_utf8(key).ok()?;
        let counters = SUFFIXES.iter().find_map(|suffix| key.strip_suffix(suffix))?;
        let (open, close) = braces(self.tagged);
        let counters = counters.strip_prefix(open)?.strip_suffix(close)?;
        // Every placeholder has the same value.
        let pieces = &self.counters.pieces;
        let text: usize = pieces.iter().map(|piece| piece.len()).sum();
        let length = counters.len().checked_sub(text)? / (pieces.len() - 1);
        let from = pieces[0].len();
        let sale = SaleId::from_ledger(counters.get(from..from + length)?).ok()?;
        let mut filled = String::with_capacity(counters.len());
        self.counters.fill(&sale, &mut filled);
        (filled == counters).then_some(sale)
    }

    /// The names for one sale.
    pub fn of(&self, sale: &SaleId) -> SaleKeys {
        let mut text = String::with_capacity(192);
        self.counters.fill(sale, &mut text);
        let counters_end = text.len();
        self.total_field.fill(sale, &mut text);
        let total_end = text.len();
        self.sold_field.fill(sale, &mut text);
        SaleKeys { text, counters_end, total_end, tagged: self.tagged }
    }
}

/// The names for one sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleKeys {
    /// The counters' key, then the field of the total, then the field of the sold units.
    text: String,
    counters_end: usize,
    total_end: usize,
    tagged: bool,
}

impl SaleKeys {
    /// The key of the counters' hash.
    pub fn counters(&self) -> &str {
        &self.text[..self.counters_end]
    }

    /// The counters' field with the total.
    pub fn total_field(&self) -> &str {
        &self.text[self.counters_end..self.total_end]
    }

    /// The counters' field with the sold units: held and confirmed.
    pub fn sold_field(&self) -> &str {
        &self.text[self.total_end..]
    }

    /// The key of the stream with every change of the sale's reservations.
    pub fn stream(&self) -> String {
        self.beside(":stream")
    }

    /// The slot of all its keys in a Cluster.
    pub(super) fn slot(&self) -> u16 {
        slot_of(self.counters().as_bytes())
    }

    /// Every key, in the order of a script's `KEYS`, the counters' first.
    pub fn all(&self) -> Vec<String> {
        let beside = SUFFIXES.iter().map(|suffix| self.beside(suffix));
        std::iter::once(self.counters().to_owned()).chain(beside).collect()
    }

    /// The names of the keys while the sale arrives from another ledger: in the same slot, and not
    /// a name of any sale.
    pub(super) fn arriving(&self) -> Self {
        let counters = self.beside(":arriving");
        let text = [&*counters, self.total_field(), self.sold_field()].concat();
        let counters_end = counters.len();
        // It has a hash tag by now.
        Self {
            text,
            counters_end,
            total_end: counters_end + self.total_field().len(),
            tagged: true,
        }
    }

    fn beside(&self, suffix: &str) -> String {
        let (open, close) = braces(self.tagged);
        [open, self.counters(), close, suffix].concat()
    }

    /// Every key in pieces, for the encoder.
    pub(super) fn pieces(&self) -> [[&str; 4]; KEYS] {
        let (open, close) = braces(self.tagged);
        let mut all = [["", self.counters(), "", ""]; KEYS];
        for (pieces, suffix) in all[1..].iter_mut().zip(SUFFIXES) {
            *pieces = [open, self.counters(), close, suffix];
        }
        all
    }
}

/// The braces around the counters' key in the names of the others.
fn braces(tagged: bool) -> (&'static str, &'static str) {
    if tagged { ("", "") } else { ("{", "}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> SaleId {
        SaleId::new("ticket").unwrap()
    }

    #[test]
    fn the_articles_names_are_the_default() {
        let keys = KeyTemplates::default().of(&ticket());
        assert_eq!(keys.counters(), "ticket_hash_key");
        assert_eq!(keys.total_field(), "ticket_total_nums");
        assert_eq!(keys.sold_field(), "ticket_sold_nums");
        assert_eq!(keys.stream(), "{ticket_hash_key}:stream");
        assert_eq!(KeyTemplates::default().index(), "stampede:sales:{sale}_hash_key");
        assert_eq!(KeyTemplates::default().members(), "stampede:sales:{sale}_hash_key:members");
        assert_eq!(KeyTemplates::default().leases(), "stampede:sales:{sale}_hash_key:leases");
        assert_eq!(
            KeyTemplates::new("{sale}_hash_key", "{sale}_total_nums", "{sale}_sold_nums"),
            Ok(KeyTemplates::default())
        );
    }

    #[test]
    fn all_keys_of_a_sale_share_its_slot() {
        for counters in ["{sale}_hash_key", "{{sale}}", "a{b}{sale}", "{a{sale}", "x:{sale}:{sale}"]
        {
            let Ok(templates) = KeyTemplates::new(counters, "t", "s") else {
                assert_eq!(counters, "{a{sale}");
                continue;
            };
            let beside =
                [templates.index(), templates.leases(), templates.members(), templates.made()];
            let slot = slot_of(beside[0].as_bytes());
            assert!(beside.iter().all(|key| slot_of(key.as_bytes()) == slot), "{beside:?}");
            let keys = templates.of(&ticket()).all();
            let slots = keys.iter().map(|key| slot_of(key.as_bytes()));
            assert!(slots.clone().all(|slot| Some(slot) == slots.clone().next()), "{keys:?}");
        }
    }

    #[test]
    fn the_sale_is_derived_from_its_keys() {
        for counters in ["{sale}_hash_key", "{{sale}}", "x:{sale}:{sale}", "[{sale}]*?"] {
            let templates = KeyTemplates::new(counters, "t", "s").unwrap();
            for sale in [ticket(), ticket().part(2, 4).unwrap()] {
                let all = templates.of(&sale).all();
                assert_eq!(templates.sale_of(all[0].as_bytes()), None, "the counters alone");
                for key in &all[1..] {
                    assert_eq!(templates.sale_of(key.as_bytes()), Some(sale.clone()), "{key}");
                }
            }
        }
        let templates = KeyTemplates::new("x:{sale}:{sale}", "t", "s").unwrap();
        for other in
            ["{x:a:b}:sale", "{x:a:a}:other", "{x::}:sale", "x:a:a:sale", "{x:a b:a b}:sale"]
        {
            assert_eq!(templates.sale_of(other.as_bytes()), None, "{other}");
        }
        assert_eq!(templates.pattern(), "{x:*:*}:*");
        let odd = KeyTemplates::new("[{sale}]*?", "t", "s").unwrap();
        assert_eq!(odd.pattern(), r"{\[*\]\*\?}:*");
    }

    #[test]
    fn arriving_keys_share_the_slot_and_are_not_taken_for_a_sale() {
        for counters in ["{sale}_hash_key", "{{sale}}", "x:{sale}:{sale}", "a{b}{sale}"] {
            let templates = KeyTemplates::new(counters, "t", "s").unwrap();
            let (keys, arriving) = (templates.of(&ticket()), templates.of(&ticket()).arriving());
            assert_eq!((arriving.total_field(), arriving.sold_field()), ("t", "s"));
            for (key, name) in keys.all().iter().zip(arriving.all()) {
                assert_ne!(*key, name);
                assert_eq!(slot_of(name.as_bytes()), keys.slot(), "{name}");
                assert_eq!(templates.sale_of(name.as_bytes()), None, "{name}");
            }
        }
    }

    #[test]
    fn ambiguous_key_templates_are_refused() {
        for (counters, total, sold) in
            [("stock", "t", "s"), ("{sale}{}", "t", "s"), ("{sale}", "x", "x"), ("{sale}", "", "s")]
        {
            assert!(KeyTemplates::new(counters, total, sold).is_err(), "{counters}");
        }
    }
}
