//! The slot of a key, which decides the node of a Cluster that has it (Redis Cluster specification,
//! "Key distribution model" and "Hash tags").
//!
//! Architecture invariant: no I/O, and no knowledge of which node has a slot.

use memchr::memchr;

/// The number of slots of every Cluster.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % SLOTS
}

/// The part of a key that decides its slot, if it is not the whole key: the text between the first
/// `{` and the first `}` after it, unless it is empty.
pub(super) fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let rest = &key[memchr(b'{', key)? + 1..];
    let tag = &rest[..memchr(b'}', rest)?];
    (!tag.is_empty()).then_some(tag)
}

/// CRC16 in the XMODEM variant: the polynomial 0x1021, nothing reflected, from 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = ((byte as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The key that decides the node of a command. `None`: any node will do.
pub(super) fn key_of<'a>(arguments: &[&'a [u8]]) -> Option<&'a [u8]> {
    let name = arguments.first()?.to_ascii_uppercase();
    let after = |word: &[u8]| arguments.iter().position(|a| a.eq_ignore_ascii_case(word));
    let place = match &name[..] {
        b"TIME" | b"PING" | b"SCRIPT" | b"INFO" | b"WAIT" => return None,
        b"EVAL" | b"EVALSHA" | b"FCALL" if arguments.get(2) == Some(&&b"0"[..]) => return None,
        b"EVAL" | b"EVALSHA" | b"FCALL" => 3,
        b"XREAD" | b"XREADGROUP" => after(b"STREAMS")? + 1,
        b"XINFO" | b"XGROUP" | b"OBJECT" | b"MEMORY" => 2,
        _ => 1,
    };
    arguments.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_slots_match_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b""), 0);
    }

    #[test]
    fn the_key_of_every_command_is_found() {
        for (command, key) in [
            ("HGET key field", Some("key")),
            ("evalsha sha 7 key other", Some("key")),
            ("EVAL text 0", None),
            ("XREADGROUP GROUP g c COUNT 1 STREAMS key >", Some("key")),
            ("XGROUP CREATE key g 0", Some("key")),
            ("XINFO GROUPS key", Some("key")),
            ("XAUTOCLAIM key g c 1 0", Some("key")),
            ("TIME", None),
            ("PING", None),
        ] {
            let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            assert_eq!(key_of(&arguments), key.map(str::as_bytes), "{command}");
        }
    }
}
