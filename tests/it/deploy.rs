//! What `deploy/` holds for OpenShift and Kubernetes: every variant fits the schemas, is consistent in itself, is as
//! locked up as it says, and has a configuration that the daemon takes.

mod copies;
mod helm;
mod kustomize;
mod manifests;
mod openshift;
mod pods;
