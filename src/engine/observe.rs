//! From what the store holds to what the plan looks at.

use crate::error::Chain;
use crate::plan::{Observation, PendingIssuance};
use crate::store::{Holding, StoreError};

/// What the plan needs to know of a holding.
pub(super) fn observation(holding: &Result<Holding, StoreError>) -> Observation {
    match holding {
        Ok(holding) => held(holding),
        Err(error) => {
            Observation { blocked: Some(Chain(error).to_string()), ..Observation::default() }
        }
    }
}

fn held(holding: &Holding) -> Observation {
    let record = &holding.record;
    let pending = holding
        .intent
        .as_ref()
        .map(|intent| PendingIssuance { wanted: intent.wanted, has_order: intent.order.is_some() });
    Observation {
        newest: holding.newest.clone(),
        live: holding.live,
        generations: holding.generations.clone(),
        pending,
        presented: holding.intent.as_ref().map_or(0, |intent| intent.presented.len()),
        deployed: record.deployed,
        issue_trouble: record.issue_trouble.clone(),
        deploy_trouble: record.deploy_trouble.clone(),
        housekeeping_trouble: None,
        requested: record.requested,
        busy: false,
        blocked: None,
    }
}
