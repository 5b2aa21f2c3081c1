//! Targets of workspaces that the configuration does not open.

use vestibule::config::Config;
use vestibule::names::login::TargetName;
use vestibule::target::Target;
use vestibule::workspace::Workspace;

use super::Fault;

/// How many targets nobody gets into because of their workspace, and one of them.
#[derive(Default)]
pub(super) struct Shut {
    count: usize,
    example: Option<(TargetName, Workspace)>,
}

impl Shut {
    pub(super) fn look(&mut self, target: &Target, config: &Config) {
        let Some(workspace) = &target.policy.workspace else { return };
        if config.may_enter.workspace(Some(workspace)).is_err() {
            self.count += 1;
            self.example.get_or_insert_with(|| (target.name.clone(), workspace.clone()));
        }
    }

    /// It may be meant, and users are told.
    pub(super) fn fault(self) -> Option<Fault> {
        let (name, workspace) = self.example?;
        let many = if self.count == 1 { "1 target is" } else { &format!("{} targets are", self.count) };
        let what = format!("{many} of workspaces that are closed here ('{name}' of '{workspace}')");
        let mend = "set 'may_enter.workspaces' in vestibule.toml: \"all\", \"none\" or a list";
        let why = "whoever comes to them is told so, and gets no further";
        Some(Fault::new(what, mend).why(why).noted())
    }
}
