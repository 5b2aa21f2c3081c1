//! An entry's strings, laid out in the buffer that the caller gave.

use std::ffi::CStr;
use std::mem::MaybeUninit;

/// `*` and not `x`: with `x` pam_unix would ask for a shadow entry, which there is none of.
const PASSWORD: &CStr = c"*";
const GECOS: &CStr = c"";
/// Root's own and empty: no file of a user is ever executed on the bastion.
const HOME: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("VESTIBULE_PREFIX"), "/share/vestibule/empty\0").as_bytes())
    {
        Ok(home) => home,
        // A prefix with a NUL can't be.
        Err(_) => c"/nonexistent",
    };
/// sshd runs the forced command with it; bash would read a start-up file, nologin would break it.
const SHELL: &CStr = c"/bin/sh";

/// Where in the buffer each string starts, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) name: usize,
    pub(crate) password: usize,
    pub(crate) gecos: usize,
    pub(crate) home: usize,
    pub(crate) shell: usize,
}

/// Writes the strings of the entry of `name`, each with its NUL; nothing when the buffer is too small
/// (it may then hold a part of them).
pub(crate) fn lay_out(name: &CStr, buffer: &mut [MaybeUninit<u8>]) -> Option<Layout> {
    let strings = [name, PASSWORD, GECOS, HOME, SHELL];
    let mut places = buffer.iter_mut();
    let mut starts = [0; 5];
    let mut next = 0;
    for (string, start) in strings.iter().zip(&mut starts) {
        *start = next;
        for byte in string.to_bytes_with_nul() {
            places.next()?.write(*byte);
            next += 1;
        }
    }
    let [name, password, gecos, home, shell] = starts;
    Some(Layout { name, password, gecos, home, shell })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: &[u8] = b"alice+lab\0*\0\0/usr/share/vestibule/empty\0/bin/sh\0";

    #[test]
    fn strings_stand_one_after_the_other_each_with_its_nul() {
        let mut buffer = [MaybeUninit::new(0x55); 64];
        let layout = lay_out(c"alice+lab", &mut buffer).unwrap();
        assert_eq!(layout, Layout { name: 0, password: 10, gecos: 12, home: 13, shell: 40 });
        // SAFETY: every byte was initialised above.
        #[expect(unsafe_code, reason = "reads back what was written")]
        let bytes = buffer.map(|byte| unsafe { byte.assume_init() });
        assert_eq!(&bytes[..EXPECTED.len()], EXPECTED);
        assert!(bytes[EXPECTED.len()..].iter().all(|byte| *byte == 0x55), "nothing behind the last string");
    }

    #[test]
    fn a_buffer_one_byte_too_small_is_too_small() {
        for len in 0..EXPECTED.len() {
            assert_eq!(lay_out(c"alice+lab", &mut vec![MaybeUninit::uninit(); len]), None, "{len}");
        }
        assert!(lay_out(c"alice+lab", &mut [MaybeUninit::uninit(); EXPECTED.len()]).is_some());
    }
}
