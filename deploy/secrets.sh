#!/bin/sh
# Makes the secrets that compose.yaml mounts, as files in deploy/secrets/: those that are missing; what is there stays.
#
# A deployment that still has them in deploy/.env keeps their values; take them out of there afterwards. The folder is
# its owner's alone; the files can be read by all, because containers of several users read them through their mounts.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets

# The value of a variable of deploy/.env, without quotes around it; nothing where there is none.
before() {
  if [ -f .env ]; then
    sed -n "s/^$1=//p" .env | tail -n 1 | sed "s/^\"\(.*\)\"\$/\1/; s/^'\(.*\)'\$/\1/"
  fi
}

# Write the file $1 if it is missing or empty: the value of the former variable $2, else $3.
secret() {
  if [ ! -s "secrets/$1" ]; then
    value=$(before "$2")
    # As `orchestrator/config/placeholders.py` has it, which refuses the same.
    if printf '%s' "$value" | grep -qiE '(^|[^a-z])change[-_ ]?me([^a-z]|$)'; then
      echo "deploy/.env: $2 is still the placeholder of an example (change-me): choose another, also where it is used" >&2
      exit 1
    fi
    printf '%s' "${value:-$3}" > "secrets/$1.new"
    chmod 444 "secrets/$1.new"
    mv "secrets/$1.new" "secrets/$1"
    echo "made deploy/secrets/$1"
  fi
}

random() {
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

secret postgres_password POSTGRES_PASSWORD "$(random)"
# The password stands in a URL: one that was chosen by hand keeps to letters and digits.
secret database_url COGMILL_DATABASE_URL "postgresql://cogmill:$(cat secrets/postgres_password)@postgres:5432/cogmill"
secret master_key COGMILL_MASTER_KEY "$(random)"
secret s3_access_key S3_ACCESS_KEY cogmill
secret s3_secret_key S3_SECRET_KEY "$(random)"
secret ray_auth_token RAY_AUTH_TOKEN "$(random)"
secret grafana_password GRAFANA_PASSWORD "$(random)"
