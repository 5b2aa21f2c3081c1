//! What a target's policy says of its wake, on its way from the parser, which reads the store, to the worker.

use vestibule::target::{Policy, Ready, Wake};

/// How a target is started and when it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) how: Wake,
    /// Seconds, where the policy says how many.
    pub(crate) within: Option<u64>,
    pub(crate) ready: Option<Ready>,
}

impl Plan {
    /// The parser's side: how, the command's name, seconds, what is asked, and of what; words are ended by NUL.
    pub(crate) fn to_fields(policy: &Policy) -> [String; 5] {
        let (how, name) = match &policy.wake {
            Wake::None => ("none", ""),
            Wake::Engine => ("engine", ""),
            Wake::Command(name) => ("command", name.as_str()),
            Wake::Hub => ("hub", ""),
        };
        let (asked, whom) = match &policy.ready {
            None => ("", String::new()),
            Some(Ready::Tcp(port)) => ("tcp", port.to_string()),
            Some(Ready::File(path)) => ("file", path.clone()),
            Some(Ready::Command(words)) => ("command", words.iter().flat_map(|w| [w, "\0"]).collect()),
        };
        let within = policy.wake_within.map(|seconds| seconds.to_string()).unwrap_or_default();
        [how.to_owned(), name.to_owned(), within, asked.to_owned(), whom]
    }

    /// The worker's side of [`Plan::to_fields`]. `None` for a target that is not started.
    ///
    /// # Errors
    /// What the parser should not have sent.
    pub(crate) fn from_fields([how, name, within, asked, whom]: [String; 5]) -> Result<Option<Self>, String> {
        let how = match how.as_str() {
            "none" => return Ok(None),
            "engine" => Wake::Engine,
            "command" => Wake::Command(name),
            "hub" => Wake::Hub,
            _ => return Err("the parsing process gave no way to start it".to_owned()),
        };
        let ready = match asked.as_str() {
            "" => None,
            "tcp" => Some(Ready::Tcp(whom.parse().map_err(|_| "the parsing process gave no port")?)),
            "file" => Some(Ready::File(whom)),
            "command" => Some(Ready::Command(whom.split_terminator('\0').map(str::to_owned).collect())),
            _ => return Err("the parsing process gave nothing to ask".to_owned()),
        };
        Ok(Some(Plan { how, within: within.parse().ok(), ready }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_the_way_to_the_worker() {
        let words = |words: &[&str]| Some(Ready::Command(words.iter().map(|&w| w.to_owned()).collect()));
        for (wake, wake_within, ready) in [
            (Wake::Engine, None, None),
            (Wake::Command("site".to_owned()), Some(7), Some(Ready::Tcp(8888))),
            (Wake::Hub, Some(3600), Some(Ready::File("/run/ready".to_owned()))),
            (Wake::Engine, None, words(&["/bin/test", "", "a b", ""])),
        ] {
            let policy =
                Policy { wake: wake.clone(), wake_within, ready: ready.clone(), ..Policy::default() };
            let plan = Plan { how: wake, within: wake_within, ready };
            assert_eq!(Plan::from_fields(Plan::to_fields(&policy)), Ok(Some(plan)));
        }
        assert_eq!(Plan::from_fields(Plan::to_fields(&Policy::default())), Ok(None));
        assert!(Plan::from_fields(["x", "", "", "", ""].map(str::to_owned)).is_err());
        assert!(Plan::from_fields(["hub", "", "", "tcp", "70000"].map(str::to_owned)).is_err());
    }
}
