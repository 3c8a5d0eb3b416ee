//! The routes of one workload, learned as they come.

use std::sync::Arc;

use super::segment::ID;

/// Routes of one workload. More than most programs have; each is a series, and
/// with where its time goes eight.
pub const ROUTES: usize = 200;

/// Of these, how many paths can take that were never there (404): scanners ask
/// for anything.
pub const UNFOUND_ROUTES: usize = 40;

/// Names beneath one segment. When more turn up they aren't names but things,
/// and all further ones are `{id}`.
pub const CHILDREN: usize = 32;

/// Learned routes. What was once given stays as it is.
pub struct Tree {
    nodes: Vec<Node>,
    routes: usize,
}

#[derive(Default)]
struct Node {
    children: Vec<(Box<str>, u32)>,
    route: Option<Arc<str>>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
            routes: 0,
        }
    }
}

impl Tree {
    /// The route of a path whose segments are called so; `None` if there are
    /// too many.
    pub fn route(&mut self, segments: &[String], limit: usize) -> Option<Arc<str>> {
        let learns = self.routes < limit;
        let mut node = 0;
        for segment in segments {
            node = self.child(node, segment, learns)?;
        }
        let found = &mut self.nodes[node as usize];
        if let Some(route) = &found.route {
            return Some(Arc::clone(route));
        }
        if !learns {
            return None;
        }
        let route: Arc<str> = self.name(segments).into();
        self.nodes[node as usize].route = Some(Arc::clone(&route));
        self.routes += 1;
        Some(route)
    }

    fn child(&mut self, parent: u32, name: &str, learns: bool) -> Option<u32> {
        let node = &self.nodes[parent as usize];
        let known = |name: &str| node.children.iter().find(|(n, _)| &**n == name);
        if let Some((_, child)) = known(name) {
            return Some(*child);
        }
        let ids = known(ID).map(|(_, child)| *child);
        let full = node.children.len() >= CHILDREN;
        if full && ids.is_some() {
            return ids;
        }
        if !learns {
            return None;
        }
        let name = if full { ID } else { name };
        // A workload's routes are bounded, and their lengths: this fits.
        let child = self.nodes.len() as u32;
        self.nodes.push(Node::default());
        self.nodes[parent as usize]
            .children
            .push((name.into(), child));
        Some(child)
    }

    /// A route's name: as its segments are called here.
    fn name(&self, segments: &[String]) -> String {
        let mut out = String::new();
        let mut node = &self.nodes[0];
        for segment in segments {
            let child = |name: &str| node.children.iter().find(|(n, _)| &**n == name);
            let Some((name, next)) = child(segment).or_else(|| child(ID)) else {
                break;
            };
            out.push('/');
            out.push_str(name);
            node = &self.nodes[*next as usize];
        }
        if out.is_empty() {
            out.push('/');
        }
        out
    }
}
