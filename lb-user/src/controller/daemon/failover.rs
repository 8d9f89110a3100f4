//! The daemon's part in a pair: what it tells `ha`, and what it does with what
//! it hears from there.

use std::collections::BTreeSet;

use tokio::task::block_in_place;
use vrrp::runner::Report;

use super::{Daemon, HANDOVER};
use crate::{
    causes::chain,
    control::{
        answer,
        events::{Event, Kind},
        protocol::{Refusal, RefusalCode, Response, VrrpCommand},
        view::{sync::SyncView, vrrp::VrrpView},
    },
    dataplane::Attachment,
    ha::{Around, Facts},
};

impl Daemon {
    /// Takes the virtual routers of a pool file that has just come into force.
    pub(super) async fn form_pair(&mut self) {
        self.instances = block_in_place(|| self.controller.instance_ids());
        let interfaces = self.attachments.iter().map(|a| (a.interface.clone(), a.ifindex)).collect();
        self.pair.admit(&self.config, &interfaces).await;
        self.hooks.keep_only(|name| self.config.vrrp.iter().any(|vrrp| vrrp.name.as_str() == name));
        self.follow_pair();
        self.settle_sync();
    }

    /// Has flow sync do as the pool file says.
    pub(super) fn settle_sync(&mut self) {
        let dataplane = self.controller.dataplane();
        dataplane.set_noting(self.config.sync.is_some());
        let open = || dataplane.exchange().map_err(std::io::Error::other);
        let settled = self.sync.follow(&self.config, &self.attachments, dataplane.hash_seed(), open);
        if let Err(error) = settled {
            self.controller.note_error(format!("start flow sync: {}", chain(&error)));
        }
    }

    /// Has the virtual routers follow what is known of links and members.
    pub(super) fn follow_pair(&mut self) {
        if self.config.vrrp.is_empty() && self.pair.is_alone() {
            return;
        }
        let hops = self.hops.borrow();
        if hops.generation == 0 {
            // The network has not been looked at: its first word comes in a moment.
            return;
        }
        let attached: BTreeSet<String> = self.attachments.iter().map(|a| a.interface.clone()).collect();
        let facts = Facts {
            links: &hops.links,
            attached: &attached,
            wanted: &self.config.dataplane.interfaces,
            behind: self.controller.behind(),
            load_balancers_down: self.controller.load_balancers_down(),
        };
        let around = Around { facts, ids: &self.instances };
        let followed = self.pair.follow(&self.config, &around);
        drop(hops);
        if let Err(error) = followed {
            self.controller.note_error(format!("run the virtual routers: {}", chain(&error)));
        }
    }

    /// Tells of interfaces that came and went, before these attachments are
    /// taken; the log has them already.
    pub(super) fn tell_of_interfaces(&mut self, attachments: &[Attachment]) {
        let is_in = |list: &[Attachment], one: &Attachment| list.iter().any(|other| other.ifindex == one.ifindex);
        for gone in self.attachments.iter().filter(|one| !is_in(attachments, one)) {
            let text = "the data path is no longer attached";
            self.desk.push(Event::new(Kind::InterfaceLost, gone.interface.clone(), text));
        }
        for new in attachments.iter().filter(|one| !is_in(&self.attachments, one)) {
            let event = Event::new(Kind::InterfaceAttached, new.interface.clone(), "the data path is attached");
            self.desk.push(event.with("ifindex", new.ifindex));
        }
    }

    /// Tells when the maps begin to differ from what they should be, and when
    /// they do no longer.
    pub(super) fn tell_of_data_path(&mut self) {
        let event = match (self.told_behind, self.controller.behind()) {
            (false, Some(reason)) => Event::new(Kind::DataPathError, "", reason),
            (true, None) => Event::new(Kind::DataPathMended, "", "the data path is as it should be again"),
            _ => return,
        };
        self.told_behind = !self.told_behind;
        self.desk.push(event);
    }

    /// Takes what the runner reports: to the log, to those who follow events,
    /// to the operator's programs.
    pub(super) fn take_report(&mut self, report: Report) {
        let told = self.pair.told(&self.config, report);
        if let Some(event) = told.event {
            self.desk.tell(event);
        }
        if let Some((program, transition)) = told.notify {
            self.hooks.notify(&program, transition);
        }
    }

    /// Leaves every virtual router such that another node takes over first.
    pub(super) fn leave_pair(&mut self) {
        block_in_place(|| self.pair.stop(HANDOVER));
        while let Some(report) = self.pair.try_report() {
            self.take_report(report);
        }
    }

    /// Carries an operator's command to an instance out.
    pub(super) fn command_pair(&mut self, select: &str, command: VrrpCommand) -> Response {
        let view = match answer::vrrp_command(&self.vrrp_views(), select, command) {
            Ok(view) => view,
            Err(refusal) => return refusal.into(),
        };
        let name = &view.instance.name;
        if let Err(error) = self.pair.command(name, command) {
            return Refusal::new(RefusalCode::Failed, format!("{} {name}: {error}", command.word())).into();
        }
        let text = format!("an operator asks for {}", command.word());
        self.desk.tell(Event::new(Kind::VrrpCommand, name.clone(), text).with("command", command.word()));
        Response::VrrpCommanded(Box::new(view))
    }

    /// How the instances are.
    pub(super) fn vrrp_views(&self) -> Vec<VrrpView> {
        self.pair.views(&self.config)
    }

    /// How flow sync is.
    pub(super) fn sync_view(&self) -> Option<SyncView> {
        self.sync.view()
    }
}
