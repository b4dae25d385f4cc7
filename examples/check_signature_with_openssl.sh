#!/bin/sh
# Check who signed a bundle with openssl and nothing of ours (schemas/SPEC.md, section 1).
#
#     sh check_signature_with_openssl.sh BUNDLE PUBLIC_KEY
#
# A bundle is one line of JSON without spaces, so sed finds its parts. Exit code 0: the key signed
# exactly the payload. What the payload says is not looked at: verify_without_deniability.py does.
set -eu
bundle=$1 key=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The parts, each of them once in the file.
part() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' "$bundle"; }
type=$(part payloadType)
part payload | openssl base64 -d -A >"$folder/payload"
part sig | openssl base64 -d -A >"$folder/signature"

# What is signed: DSSEv1 SP length(type) SP type SP length(payload) SP payload; lengths in bytes.
length() { wc -c | tr -d ' \n'; }
{
  printf 'DSSEv1 %s %s ' "$(printf %s "$type" | length)" "$type"
  printf '%s ' "$(length <"$folder/payload")"
  cat "$folder/payload"
} >"$folder/message"

if openssl pkey -pubin -in "$key" -noout -text | grep -qi ed25519; then
  openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in "$folder/message" \
    -sigfile "$folder/signature"
else
  openssl dgst -sha256 -verify "$key" -signature "$folder/signature" "$folder/message"
fi

# The name of the key, as bundles give it (keyid): sha256 of its SPKI.
printf 'key:     '
openssl pkey -pubin -in "$key" -outform DER | openssl dgst -sha256 -r | cut -d' ' -f1
printf 'payload: '
openssl dgst -sha256 -r "$folder/payload" | cut -d' ' -f1
