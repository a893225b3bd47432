//! Which sessions may call, and as whom.
//!
//! Owns the routes of running turns, the families of subagents that belong to them, and the memory of
//! what models do not take. A route lives exactly as long as its [`Grant`]; when it goes, its calls in
//! flight are cut and its subagents are forgotten. Everything is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::class::{self, Class};
use super::demo;
use super::fix::Fixes;
use super::meter::{LastError, Limits, Meter, Stop, Wait};
use super::redact::Redactor;
use super::sentence::located;
use super::tool_arguments::ToolArguments;
use crate::model::{Budget, ModelCalls, ModelSpec};
use crate::secret::Secret;

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
}

/// A registered route. Dropping it revokes the route; the numbers stay readable until then.
#[derive(Debug)]
pub(crate) struct Grant {
    table: Arc<Table>,
    entry: Arc<Entry>,
}

/// A registered route as the forwarder sees it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) route: Route,
    /// What the model is called at the provider.
    pub(super) model_id: String,
    pub(super) meter: Meter,
    pub(super) revoked: CancellationToken,
    pub(super) demo: demo::Played,
    pub(super) tool_arguments: Arc<ToolArguments>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    families: Mutex<Families>,
    /// By base address and model.
    fixes: Mutex<HashMap<(String, String), Fixes>>,
}

#[derive(Debug, Default)]
struct Families {
    roots: HashMap<String, Root>,
    /// Subagent -> root, at any depth.
    members: HashMap<String, String>,
}

#[derive(Debug)]
struct Root {
    entry: Arc<Entry>,
    members: Vec<String>,
}

/// Subagents remembered for one session. One past that is still found through its parent's id, which
/// every call carries; only the ones below it are not.
const MAX_MEMBERS: usize = 1024;

/// Models whose ways are remembered. Past that the memory starts anew and costs one 400 per model.
const MAX_FIXES: usize = 256;

fn class_of(model: &ModelSpec) -> Class {
    let local = model.upstream.provider().name == "local";
    class::choose(model.context_window, &model.name, local)
}

// === impl Table ===

impl Table {
    /// Registers `route`; a route the session had before is revoked.
    pub(super) fn register(self: &Arc<Self>, route: Route, default: Budget) -> Grant {
        let model = &route.model;
        let entry = Arc::new(Entry {
            model_id: model
                .upstream
                .model_id(&model.name, model.version.as_deref()),
            meter: Meter::new(
                Limits::new(model.budget, default),
                route.spent.clone(),
                &route.session,
            ),
            revoked: CancellationToken::new(),
            demo: demo::Played::default(),
            tool_arguments: Arc::default(),
            route,
        });
        let root = Root {
            entry: Arc::clone(&entry),
            members: Vec::new(),
        };
        let mut families = self.families.lock();
        let session = entry.route.session.clone();
        families.remove(&session);
        families.roots.insert(session, root);
        Grant {
            table: Arc::clone(self),
            entry,
        }
    }

    /// `child` is a subagent of `parent`. Unknown parents are ignored: their turn is over.
    pub(super) fn adopt(&self, child: &str, parent: &str) {
        self.families.lock().adopt(child, parent);
    }

    /// Who is calling: the session itself, a known subagent, or an unknown one whose parent is known.
    pub(super) fn find(&self, session: &str, parent: Option<&str>) -> Option<Arc<Entry>> {
        let mut families = self.families.lock();
        if let Some(root) = families.root_of(session) {
            return Some(Arc::clone(&root.entry));
        }
        families.adopt(session, parent?);
        families
            .root_of(parent?)
            .map(|root| Arc::clone(&root.entry))
    }

    /// The route of a session that is running now.
    #[cfg(test)]
    pub(super) fn get(&self, session: &str) -> Option<Arc<Entry>> {
        self.find(session, None)
    }

    pub(super) fn fixes(&self, entry: &Entry) -> Fixes {
        self.fixes
            .lock()
            .get(&fix_key(entry))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn remember(&self, entry: &Entry, fixes: Fixes) {
        let mut known = self.fixes.lock();
        if known.len() >= MAX_FIXES {
            known.clear();
        }
        let slot = known.entry(fix_key(entry)).or_default();
        *slot = slot.union(fixes);
    }
}

fn fix_key(entry: &Entry) -> (String, String) {
    (
        entry.route.model.upstream.base().to_owned(),
        entry.model_id.clone(),
    )
}

// === impl Families ===

impl Families {
    fn root_of(&self, session: &str) -> Option<&Root> {
        self.roots
            .get(session)
            .or_else(|| self.roots.get(self.members.get(session)?))
    }

    fn adopt(&mut self, child: &str, parent: &str) {
        let name = match self.members.get(parent) {
            Some(root) => root.clone(),
            None => parent.to_owned(),
        };
        let Some(root) = self.roots.get_mut(&name) else {
            return;
        };
        if child == name || root.members.len() >= MAX_MEMBERS || self.members.contains_key(child) {
            return;
        }
        root.members.push(child.to_owned());
        self.members.insert(child.to_owned(), name);
    }

    fn remove(&mut self, session: &str) {
        if let Some(root) = self.roots.remove(session) {
            root.entry.revoked.cancel();
            for member in root.members {
                self.members.remove(&member);
            }
        }
    }
}

// === impl Entry ===

impl Entry {
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
            ..self.entry.meter.usage()
        }
    }

    pub(crate) fn last_error(&self) -> Option<LastError> {
        let error = self.entry.meter.last_error()?;
        Some(located(error, &self.entry.route.model.upstream.authority()))
    }

    /// Whether the session's own last answer came without its end, and what it said was kept.
    pub(crate) fn unended(&self) -> bool {
        self.entry.meter.unended()
    }

    #[cfg(test)]
    pub(super) fn tokens(&self) -> super::Tokens {
        self.entry.meter.tokens()
    }

    #[cfg(test)]
    pub(super) fn unmetered_calls(&self) -> u64 {
        self.entry.meter.unmetered_calls()
    }

    /// What the model wrote as arguments of the call `id`, one of the newest.
    pub(crate) fn tool_arguments(&self, id: &str) -> Option<String> {
        self.entry.tool_arguments.of(id)
    }

    /// Why no more calls are made; the turn cannot go on.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.entry.meter.stopped()
    }

    pub(crate) fn wait(&self) -> Wait {
        self.entry.meter.wait()
    }

    /// Changes with every count.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.entry.meter.changes()
    }

    /// Something new happened that no answer of the model shows.
    pub(crate) fn progressed(&self) {
        self.entry.meter.progressed();
    }

    /// What to send to OpenCode as `model{providerID, modelID}`.
    pub(crate) fn model_ref(&self) -> (&'static str, &'static str) {
        let model = &self.entry.route.model;
        (model.upstream.dialect().provider_id(), class_of(model).id)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut families = self.table.families.lock();
        let session = &self.entry.route.session;
        // A later registration of the same session is not ours to remove.
        if families
            .roots
            .get(session)
            .is_some_and(|root| Arc::ptr_eq(&root.entry, &self.entry))
        {
            families.remove(session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Upstream;

    fn route(session: &str) -> Route {
        Route {
            session: session.to_owned(),
            model: ModelSpec {
                upstream: Upstream::resolve("custom", Some("http://x.test/v1"), true, false)
                    .unwrap(),
                name: "m".to_owned(),
                version: None,
                key: None,
                temperature: None,
                max_tokens: None,
                context_window: None,
                budget: Budget::default(),
            },
            enabled_tools: None,
            spent: ModelCalls::default(),
        }
    }

    fn table() -> Arc<Table> {
        Arc::new(Table::default())
    }

    fn caller(table: &Table, session: &str, parent: Option<&str>) -> Option<String> {
        table
            .find(session, parent)
            .map(|entry| entry.route.session.clone())
    }

    #[test]
    fn a_subagent_at_any_depth_calls_as_its_root() {
        let table = table();
        let _grant = table.register(route("root"), Budget::default());
        table.adopt("child", "root");
        assert_eq!(caller(&table, "child", None).as_deref(), Some("root"));
        // Not announced: learnt from the call's own header, and then known to its children.
        assert_eq!(
            caller(&table, "grandchild", Some("child")).as_deref(),
            Some("root")
        );
        assert_eq!(
            caller(&table, "great", Some("grandchild")).as_deref(),
            Some("root")
        );
        assert_eq!(caller(&table, "stranger", Some("nobody")), None);
        assert_eq!(caller(&table, "stranger", None), None);
    }

    #[test]
    fn a_dropped_grant_takes_its_family_and_its_calls_with_it() {
        let table = table();
        let grant = table.register(route("root"), Budget::default());
        table.adopt("child", "root");
        let entry = table.get("root").unwrap();
        grant.revoke();
        assert!(entry.revoked.is_cancelled());
        assert_eq!(caller(&table, "root", None), None);
        assert_eq!(caller(&table, "child", Some("root")), None);
        assert!(table.families.lock().members.is_empty());
    }

    #[test]
    fn a_late_drop_of_an_old_grant_leaves_the_new_one() {
        let table = table();
        let old = table.register(route("root"), Budget::default());
        let new = table.register(route("root"), Budget::default());
        assert!(old.entry.revoked.is_cancelled());
        drop(old);
        assert!(!new.entry.revoked.is_cancelled());
        assert!(table.get("root").is_some());
    }

    #[test]
    fn the_memory_of_subagents_is_bounded() {
        let table = table();
        let _grant = table.register(route("root"), Budget::default());
        for n in 0..2 * MAX_MEMBERS {
            table.adopt(&format!("child-{n}"), "root");
        }
        assert_eq!(table.families.lock().members.len(), MAX_MEMBERS);
        assert_eq!(
            caller(&table, "child-2000", Some("root")).as_deref(),
            Some("root")
        );
    }
}
