//! Files of cookies for X displays: Xsecurity(7), `Xauthfile(3)`.
//!
//! sshd has the cookie of a forwarded display put into such a file on the bastion by xauth(1). `route-session` takes it
//! from there, and `enter` puts it into one in the container.

/// Any host: what a client calls the display's host depends on its container.
const FAMILY_WILD: u16 = 0xffff;
/// A display's number, the name of a way to prove oneself, and the proof: each is some tens of bytes.
const MAX_FIELD: usize = 256;

/// What opens one display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    /// `MIT-MAGIC-COOKIE-1`
    pub name: Vec<u8>,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// The cookie for display `number` in a file, whatever host it is for; of several the last, which is the newest.
#[must_use]
pub fn find(mut file: &[u8], number: u16) -> Option<Cookie> {
    let number = number.to_string();
    let mut found = None;
    while let Some((_family, rest)) = file.split_at_checked(2) {
        file = rest;
        let (_address, of, name, data) =
            (field(&mut file)?, field(&mut file)?, field(&mut file)?, field(&mut file)?);
        if of == number.as_bytes() && name.len() <= MAX_FIELD && data.len() <= MAX_FIELD {
            found = Some(Cookie { name: name.to_vec(), data: data.to_vec() });
        }
    }
    found
}

/// A length and as many bytes.
fn field<'a>(file: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = file.split_first_chunk::<2>()?;
    let (field, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *file = rest;
    Some(field)
}

impl Cookie {
    /// A file with this cookie alone, for display `number` of any host.
    #[must_use]
    pub fn to_file(&self, number: u16) -> Vec<u8> {
        let mut file = FAMILY_WILD.to_be_bytes().to_vec();
        for field in [&[][..], number.to_string().as_bytes(), &self.name, &self.data] {
            let field = field.get(..MAX_FIELD).unwrap_or(field);
            file.extend(u16::try_from(field.len()).unwrap_or_default().to_be_bytes());
            file.extend_from_slice(field);
        }
        file
    }
}

/// The display's number of a name that sshd gives it, `localhost:10.0`.
#[must_use]
pub fn number(display: &str) -> Option<u16> {
    let (_, place) = display.rsplit_once(':')?;
    place.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(family: u16, fields: [&[u8]; 4]) -> Vec<u8> {
        let mut bytes = family.to_be_bytes().to_vec();
        for field in fields {
            bytes.extend(u16::try_from(field.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }

    #[test]
    fn the_cookie_of_a_display_is_found_and_written_for_any_host() {
        let file = [
            record(256, [b"bastion", b"10", b"MIT-MAGIC-COOKIE-1", b"old"]),
            record(256, [b"bastion", b"11", b"MIT-MAGIC-COOKIE-1", b"other"]),
            record(256, [b"bastion", b"10", b"MIT-MAGIC-COOKIE-1", b"new"]),
        ]
        .concat();
        let cookie = find(&file, 10).unwrap();
        assert_eq!(cookie, Cookie { name: b"MIT-MAGIC-COOKIE-1".to_vec(), data: b"new".to_vec() });
        assert_eq!(cookie.to_file(10), record(0xffff, [b"", b"10", b"MIT-MAGIC-COOKIE-1", b"new"]));
        assert_eq!(find(&cookie.to_file(10), 10), Some(cookie));
        assert_eq!(find(&file, 1), None);
        assert_eq!(find(file.get(..file.len() - 1).unwrap(), 10), None);
    }

    #[test]
    fn a_display_has_a_number() {
        for (display, wanted) in [
            ("localhost:10.0", Some(10)),
            ("unix:11", Some(11)),
            ("[::1]:12.1", Some(12)),
            ("localhost", None),
            (":70000", None),
            (":-1", None),
            ("", None),
        ] {
            assert_eq!(number(display), wanted, "{display}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_file(bytes: Vec<u8>, number: u16) {
            if let Some(cookie) = find(&bytes, number) {
                proptest::prop_assert_eq!(find(&cookie.to_file(number), number), Some(cookie));
            }
        }
    }
}
