//! `GET /sessions/{id}/egress`, `PUT /sessions/{id}/egress`

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::error::{ApiError, error_responses};
use super::extract::{BodyBytes, Id, parse};
use super::lookup;
use crate::audit;
use crate::egress_policy::{AllowList, InstanceEgress, Mode, SessionEgress, Word};
use crate::session::Session;

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = EgressChange)]
pub(super) struct EgressBody {
    /// `list`: the hosts of `egress_allow`, or else what the sidecar allows. `none`: no host.
    #[schema(value_type = Option<Word>)]
    egress: Option<Word>,
    /// Hosts, each within `EGRESS_ALLOW` of the sidecar.
    #[schema(max_items = 500)]
    egress_allow: Option<Vec<String>>,
}

/// What the tools of a session may reach.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionEgress)]
pub(super) struct EgressState {
    #[serde(flatten)]
    #[schema(inline)]
    session: Reach,
    /// What no session is allowed more than.
    sidecar: Reach,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EgressReach)]
struct Reach {
    /// `open`: the network as the pod has it.
    egress: Word,
    /// Null if that is open.
    egress_allow: Option<Vec<String>>,
}

error_responses!(EgressErrors: NotFound, Gone, JournalUnavailable);
error_responses!(EgressChangeErrors: InvalidRequest, NotFound, Gone, PayloadTooLarge, JournalUnavailable);

/// Which hosts the tools of a session may reach.
#[utoipa::path(
    get,
    path = "/sessions/{id}/egress",
    operation_id = "session_egress",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "what they may reach", body = EgressState), EgressErrors)
)]
pub(super) async fn show(State(state): Shared, Id(id): Id) -> Result<Json<EgressState>, ApiError> {
    let session = lookup::session(&state, &id).await?;
    Ok(Json(EgressState::new(&session, &state.egress.policy)))
}

/// Change which hosts the tools of a session may reach, from now on.
#[utoipa::path(
    put,
    path = "/sessions/{id}/egress",
    operation_id = "set_session_egress",
    params(("id" = String, Path, description = "the `session_id`")),
    request_body = EgressBody,
    responses((status = 200, description = "what they may reach now", body = EgressState), EgressChangeErrors)
)]
pub(super) async fn change(
    State(state): Shared,
    Id(id): Id,
    BodyBytes(body): BodyBytes,
) -> Result<Json<EgressState>, ApiError> {
    let body: EgressBody = parse(&body)?;
    let narrowed = state
        .egress
        .policy
        .narrow(body.egress, body.egress_allow.as_deref())
        .map_err(|wider| ApiError::invalid(wider.field, &wider.reason))?;
    let Some(egress) = narrowed else {
        return Err(ApiError::invalid(
            "egress",
            "is missing; it is \"none\" (no host) or \"list\" (with egress_allow: these hosts; without it: what the sidecar allows)",
        ));
    };
    let session = lookup::session(&state, &id).await?;
    state.registry.change_egress(&session, egress).await;
    if let Some(proxy) = &state.egress.proxy
        && let Some(remote_id) = &session.status().remote_id
    {
        proxy.refresh(remote_id, || session.status().policy.egress.clone());
    }
    // After the proxy holds to it: whoever is answered finds it so.
    session.noted().await;
    audit::session("session.egress", &session.id, session.status().turn);
    Ok(Json(EgressState::new(&session, &state.egress.policy)))
}

// === impl EgressState ===

impl EgressState {
    fn new(session: &Session, instance: &InstanceEgress) -> Self {
        let policy = &session.status().policy;
        let (mode, list) = match (instance.mode, &policy.egress) {
            (Mode::Open, _) => (Mode::Open, None),
            (Mode::None, _) | (Mode::List, SessionEgress::None) => (Mode::None, None),
            (Mode::List, SessionEgress::AsInstance) => (Mode::List, Some(&instance.list)),
            (Mode::List, SessionEgress::List(list)) => (Mode::List, Some(list)),
        };
        let of_sidecar = Some(&instance.list).filter(|_| instance.mode == Mode::List);
        Self {
            session: Reach::new(mode, list),
            sidecar: Reach::new(instance.mode, of_sidecar),
        }
    }
}

// === impl Reach ===

impl Reach {
    fn new(mode: Mode, list: Option<&AllowList>) -> Self {
        let egress = match mode {
            Mode::Open => Word::Open,
            Mode::List => Word::List,
            Mode::None => Word::None,
        };
        let entries = list.map(AllowList::entries).unwrap_or_default();
        Self {
            egress,
            egress_allow: (mode != Mode::Open).then_some(entries),
        }
    }
}
