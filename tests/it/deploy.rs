//! The manifests in `deploy/` for OpenShift and Kubernetes: every variant matches the schemas, is consistent, is as
//! restricted as documented, and has a configuration that the daemon accepts.

mod copies;
mod helm;
mod kustomize;
mod manifests;
mod openshift;
mod pods;
mod scaling;
