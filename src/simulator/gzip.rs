//! Gzip without compressing (RFC 1952 around stored blocks, RFC 1951 section 3.2.4): to a caller it is as compressed
//! as any other, and it saves a dependency.

/// What one stored block can hold.
const BLOCK_BYTES_MAX: usize = 0xffff;

/// Deflate, no flags, no time, no extra flags, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

pub(super) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    let mut rest = plain;
    loop {
        let (block, after) = rest.split_at(rest.len().min(BLOCK_BYTES_MAX));
        out.push(u8::from(after.is_empty()));
        // The split above keeps the length within 16 bits.
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    out.extend(crc32(plain).to_le_bytes());
    // Modulo 2^32, as the RFC has it.
    out.extend(&plain.len().to_le_bytes()[..4]);
    out
}

/// RFC 1952, section 8, without the table.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let polynomial = if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            crc = (crc >> 1) ^ polynomial;
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    /// Read back with `gzip -d` when it was written.
    #[test]
    fn the_bytes_are_a_gzip_member() {
        let expected = [
            &HEADER[..],
            &[1, 2, 0, 0xfd, 0xff],
            b"hi",
            &[0xac, 0x2a, 0x93, 0xd8, 2, 0, 0, 0],
        ]
        .concat();
        assert_eq!(gzip(b"hi"), expected);
        assert_eq!(
            gzip(&vec![7; BLOCK_BYTES_MAX + 1])[10],
            0,
            "a first block that is not the last"
        );
    }
}
