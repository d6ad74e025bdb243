//! The schema, and our values as Cedar's: what a question looks like to a policy.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::error::Error;

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema,
};
use kapelle_types::{Caller, Namespace, Principal};

use crate::{Action, Resource};

/// What policies may speak of.
pub(crate) const SCHEMA: &str = include_str!("../policies/kapelle.cedarschema");

/// The schema with everything that does not change from question to question.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) schema: Schema,
    /// The groups of every action that can be done; groups themselves cannot.
    pub(crate) groups: BTreeMap<String, BTreeSet<String>>,
    caller: EntityTypeName,
    role: EntityTypeName,
    namespace: EntityTypeName,
    resource: EntityUid,
    action: EntityTypeName,
}

/// A question as Cedar takes it.
pub(crate) struct Question {
    pub(crate) request: Request,
    pub(crate) entities: Entities,
}

impl Vocabulary {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA)?;
        let actions = schema.action_entities()?;
        let name = |uid: &EntityUid| uid.id().unescaped().to_owned();
        let groups_of = |action| actions.ancestors(action).into_iter().flatten().map(name).collect();
        let groups: HashSet<&EntityUid> = schema.action_groups().collect();
        let done = schema.actions().filter(|action| !groups.contains(action));
        let groups = done.map(|action| (name(action), groups_of(action))).collect();
        Ok(Self {
            groups,
            schema,
            caller: "Caller".parse()?,
            role: "Role".parse()?,
            namespace: "Namespace".parse()?,
            resource: uid(&"Resource".parse()?, "it"),
            action: "Action".parse()?,
        })
    }

    /// The question whether `caller` may do `action` to `resource`.
    pub(crate) fn question(
        &self,
        caller: &Caller,
        action: &Action,
        resource: &Resource,
    ) -> Result<Question, Box<dyn Error>> {
        let who = self.principal(&caller.principal);
        let done = uid(&self.action, action.as_str());
        // This action alone, with all its groups: to close over those of all others takes ten times as long as to decide.
        let groups = self.groups.get(action.as_str()).into_iter().flatten();
        let groups = groups.map(|group| uid(&self.action, group)).collect();
        let entities = [self.caller(caller)?, self.resource(resource)?, Entity::new_no_attrs(done.clone(), groups)];
        Ok(Question {
            request: Request::new(who, done, self.resource.clone(), Context::empty(), Some(&self.schema))?,
            entities: Entities::from_entities(entities, None)?,
        })
    }

    fn caller(&self, caller: &Caller) -> Result<Entity, Box<dyn Error>> {
        let mut attributes =
            HashMap::from([("sees_payloads".to_owned(), RestrictedExpression::new_bool(caller.sees_payloads))]);
        if let Some(namespace) = &caller.namespace {
            attributes.insert("namespace".to_owned(), self.namespace(namespace));
        }
        if let Some(person) = &caller.person {
            attributes.insert("person".to_owned(), RestrictedExpression::new_string(person.clone()));
        }
        let roles = caller.roles.iter().map(|role| uid(&self.role, role.as_str())).collect();
        Ok(Entity::new(self.principal(&caller.principal), attributes, roles)?)
    }

    fn resource(&self, resource: &Resource) -> Result<Entity, Box<dyn Error>> {
        let mut attributes = HashMap::from([("namespace".to_owned(), self.namespace(&resource.namespace))]);
        if let Some(owner) = &resource.owner {
            let owner = RestrictedExpression::new_entity_uid(self.principal(owner));
            attributes.insert("owner".to_owned(), owner);
        }
        Ok(Entity::new(self.resource.clone(), attributes, HashSet::new())?)
    }

    fn principal(&self, principal: &Principal) -> EntityUid {
        uid(&self.caller, &principal.0)
    }

    fn namespace(&self, namespace: &Namespace) -> RestrictedExpression {
        RestrictedExpression::new_entity_uid(uid(&self.namespace, namespace.as_str()))
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}
