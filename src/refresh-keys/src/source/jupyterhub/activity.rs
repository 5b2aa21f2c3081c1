//! The hub is told that a server is used, as the server itself tells it of its browsers: `POST /users/{name}/activity`.

use std::collections::HashMap;

use serde_json::json;
use vestibule::messages::shown_within;

use super::Jupyterhub;
use crate::source::{Reports, SourceFault};
use vestibule_http::{HttpFault, percent_encoded};

/// Characters of the hub's words.
const MAX_WORDS: usize = 250;

/// A hub, and which servers its targets are.
pub(crate) struct Telling<'a> {
    hub: Jupyterhub<'a>,
    servers: HashMap<String, (String, String)>,
}

impl<'a> Telling<'a> {
    pub(crate) fn new(hub: Jupyterhub<'a>) -> Self {
        Telling { hub, servers: HashMap::new() }
    }
}

impl Reports for Telling<'_> {
    fn report(&mut self, target: &str, accounts: &[String], at: i64) -> Result<(), SourceFault> {
        let (user, server) = match self.servers.get(target) {
            Some(known) => known.clone(),
            None => {
                let Some(found) = self.hub.server_of(target, accounts)? else { return Ok(()) };
                self.servers.insert(target.to_owned(), found.clone());
                found
            }
        };
        let url = format!("{}/users/{}/activity", self.hub.base, percent_encoded(&user));
        let mut servers = serde_json::Map::new();
        servers.insert(server, json!({ "last_activity": date(at) }));
        let told = self.hub.client.tell(&url, Some(&json!({ "servers": servers }).to_string()))?;
        match (told.status, told.words) {
            (200..=299, _) => Ok(()),
            // The user or the server is gone, or was another one.
            (400 | 404, _) => {
                self.servers.remove(target);
                Ok(())
            }
            (status, Some(words)) => {
                Err(SourceFault::Words { words: shown_within(&words, MAX_WORDS), status })
            }
            (status, None) => Err(HttpFault::Status { status, after: told.after }.into()),
        }
    }
}

/// Seconds since 1970 as ISO 8601 has them. Days are counted in years that begin in March, so that the leap day is the
/// last.
fn date(at: i64) -> String {
    let (day, second) = (at.div_euclid(86_400), at.rem_euclid(86_400));
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    let (hour, minute) = (second / 3_600, second % 3_600 / 60);
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", year + era * 400, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_704_067_199, "2023-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(at), text);
        }
    }
}
