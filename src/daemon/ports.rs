//! From settings to the things that do the work: issuers and solvers, kept over a reload where
//! their settings have not changed.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;

use tracing::{error, info};

use crate::config::Config;
use crate::config::settings::{IssuerSettings, ListenerSettings, SolverSettings};
use crate::engine::{HookTurns, Setup, StoreVault};
use crate::error::Chain;
use crate::issuer::acme::Acme;
use crate::issuer::{IssueFailure, Issuer, Stop};
use crate::model::{Clock, FailureClass, IssuerName};
use crate::solver::http01::{Limits, bind};
use crate::solver::{BindError, Http01Listener, Http01Webroot, Solver};
use crate::store::Store;

use super::secrets;

/// Everything that outlives a reload.
pub struct Ports {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    stop: Stop,
    hook_turns: HookTurns,
    issuers: BTreeMap<IssuerName, (IssuerSettings, Arc<dyn Issuer>)>,
    listeners: BTreeMap<String, RunningListener>,
    handed_over: Vec<TcpListener>,
}

struct RunningListener {
    settings: ListenerSettings,
    listener: Arc<Http01Listener>,
    has_failed: bool,
    stop: Stop,
}

impl Ports {
    /// Takes over the sockets that systemd has passed to this process, if any.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, stop: Stop) -> Self {
        Self {
            store,
            clock,
            stop,
            hook_turns: HookTurns::default(),
            issuers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            handed_over: handed_over(),
        }
    }

    /// Everything that jobs need for this configuration.
    pub fn equip(&mut self, config: Arc<Config>) -> Arc<Setup> {
        // Sockets that are no longer wanted are closed before new ones are bound.
        self.listeners.retain(|name, running| {
            let keep = config.solvers.get(name).is_some_and(|settings| {
                !running.has_failed
                    && *settings == SolverSettings::Http01Listener(running.settings.clone())
            });
            if !keep {
                running.stop.cancel();
            }
            keep
        });
        let issuers = config
            .issuers
            .iter()
            .map(|(name, settings)| (name.clone(), self.issuer(name, settings)))
            .collect();
        let solvers = config
            .solvers
            .iter()
            .map(|(name, settings)| (name.clone(), self.solver(name, settings, &config)))
            .collect();
        Arc::new(Setup {
            config,
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            issuers,
            solvers,
            hook_turns: self.hook_turns.clone(),
        })
    }

    fn issuer(&mut self, name: &IssuerName, settings: &IssuerSettings) -> Arc<dyn Issuer> {
        if let Some((known, issuer)) = self.issuers.get(name)
            && known == settings
        {
            return Arc::clone(issuer);
        }
        let external_key = settings
            .external_account
            .as_ref()
            .map(|external| {
                secrets::fetch(&external.hmac_key).map_err(|error| {
                    let text = format!("`eab: hmac_key` of {name}: {}", Chain(&error));
                    IssueFailure::new(FailureClass::Config, text)
                })
            })
            .transpose();
        let vault =
            StoreVault::new(Arc::clone(&self.store), name.clone(), settings.directory.clone());
        let issuer: Arc<dyn Issuer> =
            Arc::new(Acme::new(settings.clone(), external_key, Box::new(vault)));
        self.issuers.insert(name.clone(), (settings.clone(), Arc::clone(&issuer)));
        issuer
    }

    fn solver(
        &mut self,
        name: &str,
        settings: &SolverSettings,
        config: &Config,
    ) -> Arc<dyn Solver> {
        match settings {
            SolverSettings::Http01Webroot(settings) => Arc::new(Http01Webroot::new(name, settings)),
            SolverSettings::Http01Listener(settings) => {
                // A solver that no certificate uses must not take a port from anyone.
                let is_used = config.certificates.iter().any(|c| c.solver == name);
                self.listener(name, settings, is_used)
            }
        }
    }

    fn listener(
        &mut self,
        name: &str,
        settings: &ListenerSettings,
        is_used: bool,
    ) -> Arc<dyn Solver> {
        if let Some(running) = self.listeners.get(name) {
            return Arc::clone(&running.listener) as Arc<dyn Solver>;
        }
        if !is_used {
            return Http01Listener::new(name, settings.redirect, None);
        }
        let (sockets, failed) = self.sockets(settings);
        if let Some(error) = &failed {
            error!(solver = name, error = %error, "challenges cannot be answered");
        }
        let has_failed = failed.is_some();
        let listener = Http01Listener::new(name, settings.redirect, failed);
        let stop = self.stop.child_token();
        let serving = Arc::clone(&listener).serve(sockets, Limits::default(), stop.clone());
        tokio::spawn(serving);
        let running = RunningListener {
            settings: settings.clone(),
            listener: Arc::clone(&listener),
            has_failed,
            stop,
        };
        self.listeners.insert(name.to_owned(), running);
        listener
    }

    /// A socket for every address: one that systemd passed for its port, or a new one.
    fn sockets(&self, settings: &ListenerSettings) -> (Vec<TcpListener>, Option<BindError>) {
        let mut sockets = Vec::new();
        let mut failed = None;
        for address in &settings.listen {
            let passed: Vec<TcpListener> = self
                .handed_over
                .iter()
                .filter(|socket| {
                    socket.local_addr().is_ok_and(|local| local.port() == address.port())
                })
                .filter_map(|socket| socket.try_clone().ok())
                .collect();
            if !passed.is_empty() {
                info!(%address, "answering challenges on a socket passed by systemd");
                sockets.extend(passed);
                continue;
            }
            match bind(*address) {
                Ok(socket) => {
                    info!(%address, "answering challenges");
                    sockets.push(socket);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        (sockets, failed)
    }
}

/// The listening sockets among what systemd has passed.
fn handed_over() -> Vec<TcpListener> {
    let mut passed = listenfd::ListenFd::from_env();
    (0..passed.len()).filter_map(|index| passed.take_tcp_listener(index).ok().flatten()).collect()
}
