//! Columns of values as MessagePack, which the Lua of Redis unpacks (MessagePack specification,
//! "Formats"; only the needed parts).

/// Begins a column of `count` values.
pub(super) fn array(out: &mut Vec<u8>, count: usize) {
    out.push(0xdd);
    out.extend_from_slice(&length(count));
}

/// A text in pieces.
pub(super) fn text(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    let bytes = pieces.iter().map(|piece| piece.len()).sum::<usize>();
    match u8::try_from(bytes) {
        Ok(short @ 0..32) => out.push(0xa0 | short),
        Ok(short) => out.extend_from_slice(&[0xd9, short]),
        Err(_) => {
            out.push(0xdb);
            out.extend_from_slice(&length(bytes));
        }
    }
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
}

/// A whole number.
pub(super) fn number(out: &mut Vec<u8>, number: u32) {
    match u8::try_from(number) {
        Ok(small @ 0..128) => out.push(small),
        _ => wide_number(out, number),
    }
}

/// A whole number that always takes five bytes.
pub(super) fn wide_number(out: &mut Vec<u8>, number: u32) {
    out.push(0xce);
    out.extend_from_slice(&number.to_be_bytes());
}

/// A length. Everything sent is bounded far below 4 GiB.
fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).expect("a length within the bounds of a batch").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_encoded_as_message_pack() {
        let mut out = Vec::new();
        array(&mut out, 3);
        text(&mut out, &[b"a", b"", b"bc"]);
        number(&mut out, 127);
        number(&mut out, 128);
        wide_number(&mut out, 2);
        let numbers = [0x7f, 0xce, 0, 0, 0, 128, 0xce, 0, 0, 0, 2];
        assert_eq!(out, [&[0xdd, 0, 0, 0, 3, 0xa3][..], b"abc", &numbers].concat());
        for (bytes, header) in [(31, &[0xbf][..]), (32, &[0xd9, 32]), (256, &[0xdb, 0, 0, 1, 0])] {
            let (mut out, long) = (Vec::new(), vec![b'x'; bytes]);
            text(&mut out, &[&long]);
            assert_eq!(out, [header, &long].concat());
        }
    }
}
