//! Which sessions may call, and as whom.
//!
//! Owns the routes of running turns, the subagents that belong to them, and what is known of the parameters
//! that models do not support. A route lives exactly as long as its [`Grant`]; when it goes, its calls in
//! flight are cut and its subagents are forgotten. Everything is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::demo;
use super::generic_model::GenericModel;
use super::last_error::LastError;
use super::limits::Limits;
use super::meter::{Meter, Wait};
use super::redactor::Redactor;
use super::stop::Stop;
use super::tool_arguments::ToolArguments;
use super::unsupported::Unsupported;
use crate::model::{Budget, ModelCall, ModelCalls, ModelSpec};
use crate::secret::Secret;
use crate::trace::TurnTrace;

/// One turn of one session: where its calls go and what they say.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// OpenCode's id of the root session.
    pub(crate) session: String,
    pub(crate) model: ModelSpec,
    /// OpenCode's tool names; `None`: every tool.
    pub(crate) enabled_tools: Option<Vec<String>>,
    /// What earlier turns of the session used: it counts against the budget.
    pub(crate) spent: ModelCalls,
    /// Whether its calls count in the metrics; those of the turn that warms a child up do not.
    pub(crate) counts: bool,
    pub(crate) trace: TurnTrace,
}

/// A registered route. Dropping it revokes the route; the numbers stay readable until then.
#[derive(Debug)]
pub(crate) struct Grant {
    routes: Arc<Routes>,
    registered: Arc<RegisteredRoute>,
}

/// A route whose turn is running, with what belongs to its calls.
#[derive(Debug)]
pub(super) struct RegisteredRoute {
    pub(super) route: Route,
    /// What the model is called at the provider.
    pub(super) model_id: String,
    pub(super) meter: Meter,
    pub(super) revoked: CancellationToken,
    pub(super) demo: demo::PlayedFaults,
    pub(super) tool_arguments: Arc<ToolArguments>,
}

#[derive(Debug, Default)]
pub(super) struct Routes {
    sessions: Mutex<Sessions>,
    /// By base address and model.
    unsupported: Mutex<HashMap<(String, String), Unsupported>>,
}

#[derive(Debug, Default)]
struct Sessions {
    roots: HashMap<String, Root>,
    /// Subagent -> root, at any depth.
    subagents: HashMap<String, String>,
}

#[derive(Debug)]
struct Root {
    registered: Arc<RegisteredRoute>,
    subagents: Vec<String>,
}

/// Subagents remembered for one session. A further one is still found through its parent's id, which
/// every call carries; only the ones below it are not.
const MAX_SUBAGENTS: usize = 1024;

/// Models that are remembered. Past that all are forgotten, which costs one more 400 per model.
const MAX_MODELS: usize = 256;

// === impl Routes ===

impl Routes {
    /// Registers `route`; a route the session had before is revoked.
    pub(super) fn register(self: &Arc<Self>, route: Route, default: Budget) -> Grant {
        let model = &route.model;
        let registered = Arc::new(RegisteredRoute {
            model_id: model
                .upstream
                .model_id(&model.name, model.version.as_deref()),
            meter: Meter::new(
                Limits::new(model.budget, default),
                route.spent.clone(),
                &route.session,
            ),
            revoked: CancellationToken::new(),
            demo: demo::PlayedFaults::default(),
            tool_arguments: Arc::default(),
            route,
        });
        let root = Root {
            registered: Arc::clone(&registered),
            subagents: Vec::new(),
        };
        let mut sessions = self.sessions.lock();
        let session = registered.route.session.clone();
        sessions.remove(&session);
        sessions.roots.insert(session, root);
        Grant {
            routes: Arc::clone(self),
            registered,
        }
    }

    /// `child` is a subagent of `parent`. Unknown parents are ignored: their turn is over.
    pub(super) fn adopt(&self, child: &str, parent: &str) {
        self.sessions.lock().adopt(child, parent);
    }

    /// Who is calling: the session itself, a known subagent, or an unknown one whose parent is known.
    pub(super) fn find(&self, session: &str, parent: Option<&str>) -> Option<Arc<RegisteredRoute>> {
        let mut sessions = self.sessions.lock();
        if let Some(root) = sessions.root_of(session) {
            return Some(Arc::clone(&root.registered));
        }
        sessions.adopt(session, parent?);
        sessions
            .root_of(parent?)
            .map(|root| Arc::clone(&root.registered))
    }

    /// The route of a session that is running now.
    #[cfg(test)]
    pub(super) fn get(&self, session: &str) -> Option<Arc<RegisteredRoute>> {
        self.find(session, None)
    }

    pub(super) fn unsupported(&self, registered: &RegisteredRoute) -> Unsupported {
        self.unsupported
            .lock()
            .get(&model_key(registered))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn remember(&self, registered: &RegisteredRoute, unsupported: Unsupported) {
        let mut known = self.unsupported.lock();
        if known.len() >= MAX_MODELS {
            known.clear();
        }
        let slot = known.entry(model_key(registered)).or_default();
        *slot = slot.union(unsupported);
    }
}

fn model_key(registered: &RegisteredRoute) -> (String, String) {
    (
        registered.route.model.upstream.base().to_owned(),
        registered.model_id.clone(),
    )
}

// === impl Sessions ===

impl Sessions {
    fn root_of(&self, session: &str) -> Option<&Root> {
        self.roots
            .get(session)
            .or_else(|| self.roots.get(self.subagents.get(session)?))
    }

    fn adopt(&mut self, child: &str, parent: &str) {
        let name = match self.subagents.get(parent) {
            Some(root) => root.clone(),
            None => parent.to_owned(),
        };
        let Some(root) = self.roots.get_mut(&name) else {
            return;
        };
        if child == name
            || root.subagents.len() >= MAX_SUBAGENTS
            || self.subagents.contains_key(child)
        {
            return;
        }
        root.subagents.push(child.to_owned());
        self.subagents.insert(child.to_owned(), name);
    }

    fn remove(&mut self, session: &str) {
        if let Some(root) = self.roots.remove(session) {
            root.registered.revoked.cancel();
            for subagent in root.subagents {
                self.subagents.remove(&subagent);
            }
        }
    }
}

// === impl RegisteredRoute ===

impl RegisteredRoute {
    /// The key to send; a server on this machine may need none.
    pub(super) fn key(&self) -> Option<&Secret> {
        let key = self.route.model.key.as_ref();
        key.filter(|key| !key.expose().is_empty())
    }

    /// What errors of its calls must not show: the key, and the child's `token`.
    pub(super) fn redactor(&self, token: Option<Secret>) -> Redactor {
        Redactor::new(self.key().cloned().into_iter().chain(token))
    }
}

// === impl Grant ===

impl Grant {
    /// Ends the route: later calls are 401, calls in flight are cut.
    #[cfg(test)]
    pub(crate) fn revoke(self) {
        drop(self);
    }

    /// What this turn's calls came to so far.
    pub(crate) fn usage(&self) -> ModelCalls {
        ModelCalls {
            last_error: self.last_error().map(|error| error.message),
            ..self.registered.meter.usage()
        }
    }

    pub(crate) fn last_error(&self) -> Option<LastError> {
        let error = self.registered.meter.last_error()?;
        Some(error.located_at(&self.registered.route.model.upstream.authority()))
    }

    /// Whether the session's own last answer came without its end, and what it said was kept.
    pub(crate) fn unended(&self) -> bool {
        self.registered.meter.unended()
    }

    #[cfg(test)]
    pub(super) fn tokens(&self) -> crate::gateway::Tokens {
        self.registered.meter.tokens()
    }

    #[cfg(test)]
    pub(super) fn unmetered_calls(&self) -> u64 {
        self.registered.meter.unmetered_calls()
    }

    /// What the model wrote as arguments of the call `id`, one of the newest.
    pub(crate) fn tool_arguments(&self, id: &str) -> Option<String> {
        self.registered.tool_arguments.of(id)
    }

    /// Why no more calls are made; the turn cannot go on.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.registered.meter.stopped()
    }

    /// Which provider it is, and where, for a sentence.
    pub(crate) fn provider(&self) -> String {
        let upstream = &self.registered.route.model.upstream;
        let name = upstream.provider().name;
        if upstream.is_demo() {
            return format!("the provider {name}");
        }
        format!("{name} at {}", upstream.authority())
    }

    /// What the provider calls the model.
    pub(crate) fn model(&self) -> &str {
        &self.registered.model_id
    }

    /// The newest calls one by one, oldest first.
    pub(crate) fn newest_calls(&self) -> Vec<ModelCall> {
        self.registered.meter.newest_calls()
    }

    pub(crate) fn wait(&self) -> Wait {
        self.registered.meter.wait()
    }

    /// Changes with every count.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.registered.meter.changes()
    }

    /// Something new happened that no answer of the model shows.
    pub(crate) fn progressed(&self) {
        self.registered.meter.progressed();
    }

    /// What to send to OpenCode as `model{providerID, modelID}`.
    pub(crate) fn model_ref(&self) -> (&'static str, &'static str) {
        let model = &self.registered.route.model;
        let local = model.upstream.provider().name == "local";
        let generic = GenericModel::standing_for(&model.name, model.context_window, local);
        (model.upstream.dialect().provider_id(), generic.id)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut sessions = self.routes.sessions.lock();
        let session = &self.registered.route.session;
        // A later registration of the same session is not ours to remove.
        if sessions
            .roots
            .get(session)
            .is_some_and(|root| Arc::ptr_eq(&root.registered, &self.registered))
        {
            sessions.remove(session);
        }
    }
}

#[cfg(test)]
mod tests;
