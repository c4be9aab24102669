#!/bin/sh
# Prints the Secrets of a trial, or of one machine, with new random values:
#
#   sh deploy/trial/secrets.sh | kubectl create -f -
#
# `create` leaves a Secret that is there already as it is, and says so: a database keeps the password of its first day.
set -eu

random() {
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

password=$(random)
cat <<END
apiVersion: v1
kind: Secret
metadata:
  name: cogmill-database
  labels: {app.kubernetes.io/part-of: cogmill-trial}
stringData:
  password: "$password"
  url: "postgresql://cogmill:$password@cogmill-postgres:5432/cogmill"
---
# API keys are made from it: with another one, every key that was handed out is void.
apiVersion: v1
kind: Secret
metadata:
  name: cogmill-master-key
  labels: {app.kubernetes.io/part-of: cogmill-trial}
stringData:
  master-key: "$(random)"
---
apiVersion: v1
kind: Secret
metadata:
  name: cogmill-s3
  labels: {app.kubernetes.io/part-of: cogmill-trial}
stringData:
  access-key: "cogmill"
  secret-key: "$(random)"
END
