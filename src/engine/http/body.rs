//! Decodes a chunked body (RFC 9112, section 7.1), piece by piece as it arrives.
//!
//! The decoder is strict where two readers could differ. Lines end with CRLF, sizes are plain
//! hexadecimal, and extensions follow the grammar (section 7.1.1), so that no other reader finds
//! the end of the line elsewhere. Extensions and trailers have no meaning here: they are checked
//! for form, bounded and dropped. Outside the data it reads one byte at a time, so that the outcome
//! can't depend on how the input was cut.

use super::head::is_token_byte;
use super::problem::{Kind, ParseError};
use crate::limits::{BODY_BYTES_MAX, CHUNK_LINE_BYTES_MAX, CHUNK_OVERHEAD_BYTES_MAX};

/// What the next byte must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The first digit of a size.
    Size,
    /// Another digit, or what follows a size or a value.
    SizeRest,
    /// Another extension, after blanks.
    Semicolon,
    /// The first byte of an extension's name, or blanks before it.
    Extension,
    /// The rest of an extension's name, or what follows it.
    ExtensionName,
    /// An extension's value, or another extension, after blanks.
    EqualsSign,
    /// The first byte of an extension's value, or blanks before it.
    Value,
    /// The rest of a value that is a token, or what follows it.
    Token,
    /// The rest of a value in quotes.
    Quoted,
    /// The character after a backslash in quotes.
    QuotedPair,
    /// What follows a value in quotes.
    ValueEnd,
    /// The LF after a size.
    SizeLf,
    /// Data.
    Data,
    /// The CR after the data.
    DataCr,
    /// The LF after the data.
    DataLf,
    /// The first byte of a trailer's name, or the CR of the last line.
    Trailer,
    /// The rest of a trailer's name, or the colon.
    TrailerName,
    /// A trailer's value, or CR.
    TrailerValue,
    /// The LF after a trailer.
    TrailerLf,
    /// The very last LF.
    LastLf,
    /// Nothing more: the body is complete.
    Nothing,
}

/// Decodes one chunked body.
#[derive(Debug, Clone)]
pub struct ChunkedDecoder {
    expect: Expect,
    /// Bytes of data left in the chunk.
    chunk_bytes: usize,
    body_bytes: usize,
    line_bytes: usize,
    overhead_bytes: usize,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// A decoder at the start of a body.
    pub const fn new() -> Self {
        Self {
            expect: Expect::Size,
            chunk_bytes: 0,
            body_bytes: 0,
            line_bytes: 0,
            overhead_bytes: 0,
        }
    }

    /// Consumes the bytes of `input` that belong to the body and appends the data to `out`, at most
    /// [`BODY_BYTES_MAX`] in all. Returns the number of consumed bytes, and whether the body is
    /// complete; if it is not, all bytes are consumed. After an error the decoder must not be used.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, bool), ParseError> {
        let mut taken = 0;
        while self.expect != Expect::Nothing {
            if self.expect == Expect::Data {
                let data = &input[taken..input.len().min(taken + self.chunk_bytes)];
                out.extend_from_slice(data);
                taken += data.len();
                self.chunk_bytes -= data.len();
                if self.chunk_bytes > 0 {
                    break;
                }
                self.expect = Expect::DataCr;
            }
            let Some(&byte) = input.get(taken) else { break };
            taken += 1;
            self.count()?;
            self.expect = self.framing_byte(byte)?;
        }
        Ok((taken, self.expect == Expect::Nothing))
    }

    fn count(&mut self) -> Result<(), ParseError> {
        self.line_bytes += 1;
        self.overhead_bytes += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            return Err(ParseError::bad("a line of the chunked body is too long"));
        }
        if self.overhead_bytes > CHUNK_OVERHEAD_BYTES_MAX {
            return Err(ParseError::bad("the chunked body has too much framing"));
        }
        Ok(())
    }

    fn framing_byte(&mut self, byte: u8) -> Result<Expect, ParseError> {
        let is_text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        let is_blank = matches!(byte, b' ' | b'\t');
        Ok(match (self.expect, byte) {
            (Expect::Size, _) if byte.is_ascii_hexdigit() => {
                self.chunk_bytes = 0;
                self.digit(byte)?
            }
            (Expect::SizeRest, _) if byte.is_ascii_hexdigit() => self.digit(byte)?,
            (Expect::SizeRest | Expect::ExtensionName, b'\r') => Expect::SizeLf,
            (Expect::Token | Expect::ValueEnd, b'\r') => Expect::SizeLf,
            (Expect::SizeRest | Expect::Semicolon | Expect::ExtensionName, b';')
            | (Expect::EqualsSign | Expect::Token | Expect::ValueEnd, b';') => Expect::Extension,
            (Expect::SizeRest | Expect::Semicolon | Expect::Token | Expect::ValueEnd, _)
                if is_blank =>
            {
                Expect::Semicolon
            }
            (Expect::Extension, _) if is_blank => Expect::Extension,
            (Expect::Extension | Expect::ExtensionName, _) if is_token_byte(byte) => {
                Expect::ExtensionName
            }
            (Expect::ExtensionName | Expect::EqualsSign, b'=') => Expect::Value,
            (Expect::ExtensionName | Expect::EqualsSign, _) if is_blank => Expect::EqualsSign,
            (Expect::Value, _) if is_blank => Expect::Value,
            (Expect::Value, b'"') => Expect::Quoted,
            (Expect::Value | Expect::Token, _) if is_token_byte(byte) => Expect::Token,
            (Expect::Quoted, b'"') => Expect::ValueEnd,
            (Expect::Quoted, b'\\') => Expect::QuotedPair,
            (Expect::Quoted | Expect::QuotedPair, _) if is_text => Expect::Quoted,
            (Expect::SizeLf, b'\n') => {
                self.line_bytes = 0;
                self.body_bytes += self.chunk_bytes;
                if self.chunk_bytes == 0 { Expect::Trailer } else { Expect::Data }
            }
            (Expect::DataCr, b'\r') => Expect::DataLf,
            (Expect::DataLf, b'\n') => {
                self.line_bytes = 0;
                Expect::Size
            }
            (Expect::Trailer, b'\r') => Expect::LastLf,
            (Expect::Trailer | Expect::TrailerName, _) if is_token_byte(byte) => {
                Expect::TrailerName
            }
            (Expect::TrailerName, b':') => Expect::TrailerValue,
            (Expect::TrailerValue, b'\r') => Expect::TrailerLf,
            (Expect::TrailerValue, _) if is_text => Expect::TrailerValue,
            (Expect::TrailerLf, b'\n') => {
                self.line_bytes = 0;
                Expect::Trailer
            }
            (Expect::LastLf, b'\n') => Expect::Nothing,
            _ => return Err(ParseError::bad("the chunked body is malformed")),
        })
    }

    /// A size is rejected as soon as it is too large, so it can't overflow.
    fn digit(&mut self, byte: u8) -> Result<Expect, ParseError> {
        let digit = (byte as char).to_digit(16).unwrap_or_default() as usize;
        self.chunk_bytes = self.chunk_bytes * 16 + digit;
        if self.body_bytes + self.chunk_bytes > BODY_BYTES_MAX {
            return Err(ParseError::of(Kind::CONTENT_TOO_LARGE));
        }
        Ok(Expect::SizeRest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The data, the bytes taken, and whether it is complete.
    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), ParseError> {
        let (mut decoder, mut out, mut taken) = (ChunkedDecoder::new(), Vec::new(), 0);
        for piece in pieces {
            let (bytes, complete) = decoder.feed(piece, &mut out)?;
            taken += bytes;
            if complete {
                return Ok((out, taken, true));
            }
            assert_eq!(bytes, piece.len());
        }
        Ok((out, taken, false))
    }

    #[test]
    fn well_formed_chunks_are_decoded() {
        for (input, data) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("00005\r\nhello\r\n000\r\n\r\n", "hello"),
            ("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!"),
            ("5;a=b;c=\"d e\";f\r\nhello\r\n0;last\r\n\r\n", "hello"),
            ("5; a\r\nhello\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n", "hello"),
            ("5 \t;\ta = b ;c=\t\"d;\\\"\\\\\"\t; e\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5;a=\"\";b=\"\u{e9}\"\r\nhello\r\n0\r\n\r\n", "hello"),
            ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
            ("a\r\n\r\n0\r\n\r\n\r\nx\r\n0\r\n\r\n", "\r\n0\r\n\r\n\r\nx"),
        ] {
            let next = format!("{input}GET / HTTP/1.1\r\n");
            let got = decode(&[next.as_bytes()]).unwrap();
            assert_eq!(got, (data.into(), input.len(), true), "{input:?}");
            for end in 0..input.len() {
                assert!(!decode(&[&input.as_bytes()[..end]]).unwrap().2, "{input:?} {end}");
            }
        }
    }

    #[test]
    fn ambiguous_chunks_are_refused() {
        for input in [
            "\r\n",
            "\n",
            " 5\r\n",
            "5 \r\n",
            "5\t\r\n",
            "5\n",
            "5\rh",
            "5;a\n",
            "5;\r\n",
            "5;=b\r\n",
            "5;;a\r\n",
            "5;a;\r\n",
            "5; \r\n",
            "5;a \r\n",
            "5;a b\r\n",
            "5;a=\r\n",
            "5;a= \r\n",
            "5;a=;b\r\n",
            "5;a==b\r\n",
            "5;a=b=c\r\n",
            "5;a=b c\r\n",
            "5;a=b \r\n",
            "5;a=[x\r\n",
            "5;bad[=x\r\n",
            "5;\"a\"=b\r\n",
            "5;a=\"b\r\n",
            "5;a=\"b\\\"\r\n",
            "5;a=\"b\"c\r\n",
            "5;a=\"b\" \r\n",
            "5;a=b\"c\"\r\n",
            "5;a=\"\x7f\"\r\n",
            "5;a=\"\\\r\n",
            "5 5\r\n",
            "5;a\x00\r\n",
            "5;a\x0b\r\n",
            "5;a\rb\r\n",
            "0x5\r\n",
            "-1\r\n",
            "+5\r\n",
            "5_0\r\n",
            "g\r\n",
            "\u{ff15}\r\n",
            ";a\r\n",
            "5,5\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1\r\na\r\r",
            "1\r\na0\r\n\r\n",
            "1\r\na\r\n\r\n",
            "0\r\n\n",
            "0\r\n\r\r",
            "0\r\nX\r\n",
            "0\r\n: x\r\n",
            "0\r\nX : y\r\n",
            "0\r\nX: y\n",
            "0\r\nX: \x00\r\n",
            "0\r\n X: y\r\n",
            "0\r\nX: y\r\n z\r\n",
            "0\r\nGET / HTTP/1.1\r\n",
        ] {
            let got = decode(&[input.as_bytes()]);
            assert_eq!(got.map_err(|reject| reject.kind), Err(Kind::BAD_REQUEST), "{input:?}");
        }
    }

    #[test]
    fn chunked_bodies_are_bounded() {
        let code = |input: &str| decode(&[input.as_bytes()]).map_err(|reject| reject.kind);
        let chunk = |bytes: usize| format!("{bytes:x}\r\n{}\r\n", "x".repeat(bytes));
        let full = chunk(BODY_BYTES_MAX) + "0\r\n\r\n";
        assert_eq!(code(&full).unwrap().0.len(), BODY_BYTES_MAX);
        assert_eq!(code("4001"), Err(Kind::CONTENT_TOO_LARGE));
        assert_eq!(code("ffffffffffffffffffffffffffffffffff"), Err(Kind::CONTENT_TOO_LARGE));
        assert_eq!(code(&(chunk(BODY_BYTES_MAX) + "1")), Err(Kind::CONTENT_TOO_LARGE));
        let zeros = "0".repeat(CHUNK_LINE_BYTES_MAX - 2);
        assert!(code(&format!("{zeros}\r\n")).is_ok());
        assert_eq!(code(&format!("0{zeros}\r\n")), Err(Kind::BAD_REQUEST));
        assert_eq!(code(&format!("5;{}", "a".repeat(300))), Err(Kind::BAD_REQUEST));
        assert_eq!(code(&format!("0\r\nX:{}", "a".repeat(300))), Err(Kind::BAD_REQUEST));
        let trailers = format!("X:{}\r\n", "a".repeat(200)).repeat(100);
        assert_eq!(code(&format!("0\r\n{trailers}")), Err(Kind::BAD_REQUEST));
        assert_eq!(code(&"1\r\nx\r\n".repeat(BODY_BYTES_MAX)), Err(Kind::BAD_REQUEST));
    }

    /// Bytes that often have a meaning for the decoder.
    fn framing_like() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            "0",
            "1",
            "5",
            "a",
            "\r\n",
            "\r\n",
            "\r",
            "\n",
            ";",
            ":",
            " ",
            "x",
            "hello",
            "0\r\n\r\n",
            "5\r\nhello\r\n",
            "1\r\n",
            ";a=b\r\n",
            "=",
            "\"",
            "\\",
            "0\r\nX: y\r\n",
            "4000\r\n",
            "\0",
        ]);
        prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn splitting_the_input_changes_nothing(
            input in prop_oneof![framing_like(), prop::collection::vec(any::<u8>(), 0..64)],
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&input[start..cut]);
                start = cut;
            }
            pieces.push(&input[start..]);
            prop_assert_eq!(decode(&pieces), decode(&[&input]));
        }

        #[test]
        fn encoded_chunks_round_trip(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
        ) {
            let mut input = Vec::new();
            for chunk in &chunks {
                input.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                input.extend_from_slice(chunk);
                input.extend_from_slice(b"\r\n");
            }
            input.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(decode(&[&input]), Ok((chunks.concat(), input.len(), true)));
        }
    }
}
