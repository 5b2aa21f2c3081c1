//! How an engine tells the standard output of an exec from its standard error, on one connection.

/// The stream of an exec without a terminal: frames, each of a byte that names the stream, three zeroes, a length (big
/// endian), and that many bytes.
#[derive(Default)]
pub(super) struct Frames {
    /// Bytes of the frame at hand that are still to come, and whether they are of standard error.
    left: usize,
    is_error: bool,
}

impl Frames {
    /// Moves what has come to where it belongs; half a head stays in `wire`.
    pub(super) fn take(&mut self, wire: &mut Vec<u8>, out: &mut Vec<u8>, err: &mut Vec<u8>) {
        let mut rest = wire.as_slice();
        loop {
            let (bytes, tail) = rest.split_at(self.left.min(rest.len()));
            if self.is_error { &mut *err } else { &mut *out }.extend_from_slice(bytes);
            self.left -= bytes.len();
            rest = tail;
            let Some(([stream, _, _, _, a, b, c, d], tail)) =
                rest.split_first_chunk().filter(|_| self.left == 0)
            else {
                break;
            };
            self.left = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            self.is_error = *stream == 2;
            rest = tail;
        }
        let taken = wire.len() - rest.len();
        wire.drain(..taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_however_they_arrive() {
        let all = [1, 0, 0, 0, 0, 0, 0, 2, b'o', b'k', 2, 0, 0, 0, 0, 0, 0, 1, b'e', 1, 0, 0, 0, 0, 0, 0, 0];
        for cut in 0..=all.len() {
            let (mut frames, mut wire, mut out, mut err) =
                (Frames::default(), Vec::new(), Vec::new(), Vec::new());
            for part in [&all[..cut], &all[cut..]] {
                wire.extend_from_slice(part);
                frames.take(&mut wire, &mut out, &mut err);
            }
            assert_eq!(
                (wire.len(), out.as_slice(), err.as_slice()),
                (0, b"ok".as_slice(), b"e".as_slice()),
                "{cut}"
            );
        }
    }

    #[test]
    fn a_frame_larger_than_any_buffer_passes_through() {
        let (mut frames, mut wire, mut out, mut err) =
            (Frames::default(), vec![1, 0, 0, 0, 0, 1, 0, 0], vec![], vec![]);
        for _ in 0..4 {
            wire.extend([7; 1 << 14]);
            frames.take(&mut wire, &mut out, &mut err);
            assert!(wire.is_empty());
        }
        assert_eq!((out.len(), err.len(), frames.left), (1 << 16, 0, 0));
    }
}
