// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes messages in the wire format of Protocol Buffers: as much of it as a trace needs.

/// A message that grows field by field.
#[derive(Debug, Clone, Default)]
pub(super) struct Message(Vec<u8>);

/// Wire type of a variable-length number.
const VARINT: u64 = 0;
/// Wire type of bytes with a length.
const BYTES: u64 = 2;

impl Message {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Adds a number. Negative ones are cast to `u64`, as the format has it.
    pub(super) fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3 | VARINT);
        self.varint(value);
        self
    }

    /// Adds text.
    pub(super) fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    /// Adds a message within this one.
    pub(super) fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the format's own description.
    #[test]
    fn encodes_as_published() {
        let number = Message::default().number(1, 150);
        assert_eq!(number.as_bytes(), [0x08, 0x96, 0x01]);
        let text = Message::default().text(2, "testing");
        assert_eq!(text.as_bytes(), b"\x12\x07testing");
        let nested = Message::default().message(3, &number);
        assert_eq!(nested.as_bytes(), [0x1A, 0x03, 0x08, 0x96, 0x01]);
        let negative = Message::default().number(1, -2_i64 as u64);
        assert_eq!(
            negative.as_bytes()[1..],
            [0xFE, 255, 255, 255, 255, 255, 255, 255, 255, 1]
        );
    }
}
