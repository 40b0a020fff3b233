-- connectors.sql: the networks that cdp-relay knows. The format of a row, the pages of the networks' documentation that
-- each follows, and how each was tried: docs/connectors.md.

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "webhook", "shipped": true,
    "description": "Any HTTP receiver, signed as Standard Webhooks says.",
    "batch_size": 1,
    "repeats": true,
    "options": {"batch": {"max": 1000, "about": "An array of up to so many changes instead of one change."}},
    "headers": {
        "webhook-id": "{{ batch_id }}",
        "webhook-timestamp": "{{ now }}",
        "webhook-signature": "{{ secret | sign_webhook(batch_id, now, body) }}"
    },
    "body": {
        "$if": "{{ options.batch }}",
        "$then": {"$changes": {
            "type": "{{ type }}", "destination": "{{ destination }}", "key": "{{ key }}", "row": "{{ row }}", "id": "{{ id }}"}},
        "$else": {
            "type": "{{ type }}", "destination": "{{ destination }}", "key": "{{ key }}", "row": "{{ row }}", "id": "{{ id }}"}
    },
    "retry": {"status": [401, 403, 404, 405, 407, 408, 410, 425, 429, "1xx", "3xx", "5xx"]}
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "hubspot", "shipped": true,
    "description": "HubSpot contacts: upsert by a unique property, archive.",
    "endpoint": "https://api.hubapi.com",
    "url": "{{ endpoint }}/crm/v3/objects/{{ options.object }}/batch/upsert",
    "auth": {"type": "bearer", "secret_env": "CDP_HUBSPOT_TOKEN"},
    "batch_size": 100,
    "rate_limit": 10,
    "options": {
        "object": {"default": "contacts", "about": "The kind of record."},
        "id_property": {"default": "email", "about": "The unique property that the destination's key is."}
    },
    "body": {"inputs": {"$changes": {
        "idProperty": "{{ options.id_property }}",
        "id": "{{ key }}",
        "objectWriteTraceId": "{{ id }}",
        "properties": {"$fields": {"value": "{{ value | iso_time | join(';') | default('') }}"}}
    }}},
    "success": {"errors": [{
        "in": "{{ answer.errors }}",
        "keys": "{{ item.context.objectWriteTraceId }}", "as": "{{ id }}",
        "where": "{{ item.context.objectWriteTraceId }}",
        "reason": "{{ item.category }}: {{ item.message }}"
    }, {
        "in": "{{ answer.errors }}",
        "keys": "{{ item.context.ids | default(item.context.id) }}",
        "where": "{{ all(status | is(207), not(item.context.objectWriteTraceId)) }}",
        "reason": "{{ item.category }}: {{ item.message }}"
    }]},
    "retry": {"status": [401, 403, 404, 408, 423, 429, 477, "1xx", "3xx", "5xx"]},
    "refuse": {"reason": "{{ answer.category }}: {{ answer.message }}"},
    "deletes": {
        "before": [{
            "url": "{{ endpoint }}/crm/v3/objects/{{ options.object }}/batch/read",
            "body": {
                "idProperty": "{{ options.id_property }}",
                "properties": ["{{ options.id_property }}"],
                "inputs": {"$changes": {"id": "{{ key }}"}}
            }
        }],
        "url": "{{ endpoint }}/crm/v3/objects/{{ options.object }}/batch/archive",
        "when": "{{ answers[0].results }}",
        "body": {"inputs": {"$each": "{{ answers[0].results }}", "$give": {"id": "{{ item.id }}"}}},
        "success": {}
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "salesforce", "shipped": true,
    "description": "Salesforce records of one kind: upsert by an external id, delete.",
    "method": "PATCH",
    "url": "{{ endpoint }}/services/data/{{ options.version }}/composite/sobjects/{{ options.object }}/{{ options.external_id }}",
    "auth": {"type": "oauth2", "grant": "client_credentials", "token_url": "{{ endpoint }}/services/oauth2/token",
             "secret_env": "CDP_SALESFORCE_SECRET"},
    "batch_size": 200,
    "options": {
        "version": {"default": "v60.0", "about": "Of the API."},
        "object": {"default": "Contact", "about": "The kind of record."},
        "external_id": {"required": true, "about": "The field, marked as an external id, that the destination's key is."}
    },
    "body": {"allOrNone": false, "records": {"$changes": {"$merge": [
        {"$fields": {"value": "{{ value | iso_time }}", "nulls": true}},
        {"attributes": {"type": "{{ options.object }}"}, "{{ options.external_id }}": "{{ key }}"}
    ]}}},
    "success": {"when": "{{ answer | size | is(count) }}", "errors": [{
        "in": "{{ answer }}",
        "where": "{{ item.success | is(false) }}",
        "position": "{{ index }}",
        "reason": "{{ item.errors[*].statusCode | join }}: {{ item.errors[*].message | join }}",
        "retry": "{{ item.errors[0].statusCode | in('UNABLE_TO_LOCK_ROW', 'REQUEST_LIMIT_EXCEEDED', 'SERVER_UNAVAILABLE', 'REQUEST_RUNNING_TOO_LONG', 'UNKNOWN_EXCEPTION') }}"
    }]},
    "retry": {"status": [401, 403, 404, 408, 414, 420, 429, 431, "1xx", "3xx", "5xx"]},
    "refuse": {"reason": "{{ answer[0].errorCode }}: {{ answer[0].message }}"},
    "deletes": {
        "method": "DELETE",
        "url": "{{ endpoint }}/services/data/{{ options.version }}/sobjects/{{ options.object }}/{{ options.external_id }}/{{ key }}",
        "batch_size": 1,
        "body": null,
        "success": {"status": ["2xx", 404]}
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "mailchimp", "shipped": true,
    "description": "The members of a Mailchimp audience: add or update, archive. The key is the e-mail address.",
    "url": "{{ endpoint }}/3.0/lists/{{ options.list_id }}?skip_merge_validation=true",
    "auth": {"type": "basic", "user": "cdp", "secret_env": "CDP_MAILCHIMP_KEY"},
    "batch_size": 500,
    "options": {
        "list_id": {"required": true, "about": "The audience."},
        "status": {"default": "subscribed", "about": "What members become: subscribed, pending, unsubscribed, transactional."}
    },
    "require": {"the key is no e-mail address": "{{ key | email }}"},
    "body": {
        "update_existing": true,
        "members": {"$changes": {
            "email_address": "{{ key | email }}",
            "status": "{{ options.status }}",
            "merge_fields": {"$fields": {"value": "{{ value | iso_time | join | default('') }}"}}
        }}
    },
    "success": {"errors": [{
        "in": "{{ answer.errors }}",
        "keys": "{{ item.email_address | lower }}", "as": "{{ key | email }}",
        "reason": "{{ item.error_code | default('error') }}: {{ item.error }}{{ item.field_message | default('') }}"
    }]},
    "retry": {"status": [401, 403, 404, 405, 408, 429, "1xx", "3xx", "5xx"]},
    "refuse": {"reason": "{{ answer.title }}: {{ answer.detail }}"},
    "deletes": {
        "method": "DELETE",
        "url": "{{ endpoint }}/3.0/lists/{{ options.list_id }}/members/{{ key | email | md5 }}",
        "batch_size": 1,
        "body": null,
        "success": {"status": ["2xx", 404]}
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "klaviyo", "shipped": true,
    "description": "Klaviyo profiles: bulk import, into a list if one is named; those who leave are taken off the list.",
    "endpoint": "https://a.klaviyo.com",
    "url": "{{ endpoint }}/api/profile-bulk-import-jobs",
    "headers": {
        "Authorization": "Klaviyo-API-Key {{ secret }}",
        "revision": "{{ options.revision }}",
        "Content-Type": "application/vnd.api+json",
        "Accept": "application/vnd.api+json"
    },
    "auth": {"secret_env": "CDP_KLAVIYO_KEY"},
    "batch_size": 1000,
    "rate_limit": 2.5,
    "options": {
        "revision": {"default": "2026-07-15", "about": "Of the API."},
        "identifier": {"default": "email", "about": "What the destination's key is: email, phone_number or external_id."},
        "list_id": {"about": "The list that the profiles are put into, and taken off."}
    },
    "body": {"data": {
        "type": "profile-bulk-import-job",
        "attributes": {"profiles": {"data": {"$changes": {
            "type": "profile",
            "attributes": {"$merge": [
                {"$fields": {"only": ["email", "phone_number", "external_id", "first_name", "last_name", "organization", "locale", "title", "image", "location"], "nulls": true}},
                {"properties": {"$fields": {"except": ["email", "phone_number", "external_id", "first_name", "last_name", "organization", "locale", "title", "image", "location"], "value": "{{ value | iso_time }}", "nulls": true}}},
                {"{{ options.identifier }}": "{{ key }}"}
            ]}
        }}}},
        "relationships": {"$if": "{{ options.list_id }}", "$then": {"lists": {"data": [{"type": "list", "id": "{{ options.list_id }}"}]}}}
    }},
    "success": {"errors": [{
        "in": "{{ answer.errors }}",
        "position": "{{ item.source.pointer | after('/data/attributes/profiles/data/') | integer }}",
        "reason": "{{ item.code }}: {{ item.detail }}"
    }]},
    "retry": {"status": [401, 403, 404, 408, 429, "1xx", "3xx", "5xx"]},
    "refuse": {"reason": "{{ answer.errors[0].code }}: {{ answer.errors[0].detail }}"},
    "deletes": {
        "before": [{
            "method": "GET",
            "when": "{{ options.list_id }}",
            "url": "{{ endpoint }}/api/profiles?fields%5Bprofile%5D={{ options.identifier }}&page%5Bsize%5D=100&filter={{ concat('any(', options.identifier, ',', json(keys), ')') }}"
        }],
        "method": "DELETE",
        "when": "{{ answers[0].data }}",
        "url": "{{ endpoint }}/api/lists/{{ options.list_id }}/relationships/profiles",
        "batch_size": 50,
        "body": {"data": {"$each": "{{ answers[0].data }}", "$give": {"type": "profile", "id": "{{ item.id }}"}}},
        "success": {}
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "braze", "shipped": true,
    "description": "Braze users: attributes by external id, deletion of the user.",
    "url": "{{ endpoint }}/users/track",
    "auth": {"type": "bearer", "secret_env": "CDP_BRAZE_KEY"},
    "batch_size": 75,
    "body": {"attributes": {"$changes": {"$merge": [
        {"$fields": {"value": "{{ value | iso_time }}", "nulls": true}},
        {"external_id": "{{ key }}"}
    ]}}},
    "success": {"when": "{{ answer.message | is('success') }}", "errors": [{
        "in": "{{ answer.errors }}",
        "position": "{{ if(item.input_array | default('attributes') | is('attributes'), item.index, null) }}",
        "reason": "{{ item.type | default(item.message) | default(item) }}"
    }]},
    "retry": {
        "status": [401, 403, 404, 408, 429, "1xx", "3xx", "5xx"],
        "after": "{{ headers['x-ratelimit-reset'] | integer | seconds_until }}"
    },
    "refuse": {"reason": "{{ answer.message }}"},
    "deletes": {
        "url": "{{ endpoint }}/users/delete",
        "batch_size": 50,
        "body": {"external_ids": {"$changes": "{{ key }}"}},
        "success": {"when": "{{ answer.deleted | default(answer.message) }}"}
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "google_customer_match", "shipped": true,
    "description": "A customer list of Google Ads: an offline user data job a batch, hashed.",
    "endpoint": "https://googleads.googleapis.com",
    "auth": {"type": "oauth2", "grant": "refresh_token", "token_url": "{{ options.token_url }}", "secret_env": "CDP_GOOGLE_SECRET"},
    "headers": {
        "developer-token": "{{ secret.developer_token }}",
        "login-customer-id": "{{ options.login_customer_id | text }}"
    },
    "batch_size": 10000,
    "options": {
        "customer_id": {"required": true, "about": "The account, digits only."},
        "user_list_id": {"required": true, "about": "The customer list."},
        "login_customer_id": {"about": "The manager account that lets in, if one does."},
        "version": {"default": "v25", "about": "Of the API."},
        "region": {"about": "Where phone numbers without a country code are from (GB)."},
        "ad_user_data": {"default": "GRANTED", "about": "The consent that goes with who enters."},
        "ad_personalization": {"default": "GRANTED", "about": "The consent that goes with who enters."},
        "token_url": {"default": "https://oauth2.googleapis.com/token", "about": "Where access tokens come from."}
    },
    "require": {"nothing that Google knows people by": "{{ any(field('email') | email | gmail, field('phone') | e164(options.region | default('')), field('third_party_user_id'), all(field('first_name') | trim | unless_empty, field('last_name') | trim | unless_empty, field('country') | country, field('postal_code') | trim | unless_empty)) }}"},
    "before": [{
        "url": "{{ endpoint }}/{{ options.version }}/customers/{{ options.customer_id }}/offlineUserDataJobs:create",
        "body": {"job": {
            "type": "CUSTOMER_MATCH_USER_LIST",
            "customerMatchUserListMetadata": {
                "userList": "customers/{{ options.customer_id }}/userLists/{{ options.user_list_id }}",
                "consent": {"adUserData": "{{ options.ad_user_data }}", "adPersonalization": "{{ options.ad_personalization }}"}
            }
        }}
    }],
    "url": "{{ endpoint }}/{{ options.version }}/customers/{{ options.customer_id }}/offlineUserDataJobs/{{ answers[0].resourceName | after('/offlineUserDataJobs/') }}:addOperations",
    "body": {"enablePartialFailure": true, "operations": {"$changes": {"create": {"userIdentifiers": [
        {"hashedEmail": "{{ field('email') | email | gmail | sha256 }}"},
        {"hashedPhoneNumber": "{{ field('phone') | e164(options.region | default('')) | sha256 }}"},
        {"addressInfo": {"$all": {
            "hashedFirstName": "{{ field('first_name') | trim | lower | unless_empty | sha256 }}",
            "hashedLastName": "{{ field('last_name') | trim | lower | unless_empty | sha256 }}",
            "countryCode": "{{ field('country') | country | upper }}",
            "postalCode": "{{ field('postal_code') | trim | unless_empty }}"
        }}},
        {"thirdPartyUserId": "{{ field('third_party_user_id') | text }}"}
    ]}}}},
    "after": [{
        "url": "{{ endpoint }}/{{ options.version }}/customers/{{ options.customer_id }}/offlineUserDataJobs/{{ answers[0].resourceName | after('/offlineUserDataJobs/') }}:run",
        "body": {}
    }],
    "success": {"errors": [{
        "in": "{{ answer.partialFailureError.details[*].errors[*] }}",
        "position": "{{ item.location.fieldPathElements[0].index }}",
        "reason": "{{ item.errorCode | json }}: {{ item.message }}",
        "retry": "{{ any(item.errorCode.databaseError | is('CONCURRENT_MODIFICATION'), item.errorCode.internalError | in('INTERNAL_ERROR', 'TRANSIENT_ERROR')) }}"
    }, {
        "in": "{{ answer.error.details[*].errors[*] }}",
        "position": "{{ item.location.fieldPathElements[0].index }}",
        "reason": "{{ item.errorCode | json }}: {{ item.message }}",
        "retry": "{{ any(item.errorCode.databaseError | is('CONCURRENT_MODIFICATION'), item.errorCode.internalError | in('INTERNAL_ERROR', 'TRANSIENT_ERROR')) }}"
    }]},
    "retry": {
        "status": [401, 403, 404, 408, 409, 429, "1xx", "3xx", "5xx"],
        "when": "{{ answer.error.details[*].errors[*].errorCode.databaseError | contains('CONCURRENT_MODIFICATION') }}",
        "after": "{{ answer.error.details[*].errors[*].details.quotaErrorDetails.retryDelay | first | before('s') | number }}"
    },
    "refuse": {"reason": "{{ answer.error.status }}: {{ answer.error.details[*].errors[*].message | join | unless_empty | default(answer.error.message) }}"},
    "deletes": {
        "before": [{
            "url": "{{ endpoint }}/{{ options.version }}/customers/{{ options.customer_id }}/offlineUserDataJobs:create",
            "body": {"job": {
                "type": "CUSTOMER_MATCH_USER_LIST",
                "customerMatchUserListMetadata": {"userList": "customers/{{ options.customer_id }}/userLists/{{ options.user_list_id }}"}
            }}
        }],
        "body": {"enablePartialFailure": true, "operations": {"$changes": {"remove": {"userIdentifiers": [
            {"hashedEmail": "{{ field('email') | email | gmail | sha256 }}"},
            {"hashedPhoneNumber": "{{ field('phone') | e164(options.region | default('')) | sha256 }}"},
            {"addressInfo": {"$all": {
                "hashedFirstName": "{{ field('first_name') | trim | lower | unless_empty | sha256 }}",
                "hashedLastName": "{{ field('last_name') | trim | lower | unless_empty | sha256 }}",
                "countryCode": "{{ field('country') | country | upper }}",
                "postalCode": "{{ field('postal_code') | trim | unless_empty }}"
            }}},
            {"thirdPartyUserId": "{{ field('third_party_user_id') | text }}"}
        ]}}}}
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "google_data_manager", "shipped": true,
    "description": "A customer list of Google Ads through the Data Manager API: a request a batch, hashed.",
    "endpoint": "https://datamanager.googleapis.com",
    "url": "{{ endpoint }}/v1/audienceMembers:ingest",
    "auth": {"type": "oauth2", "grant": "refresh_token", "token_url": "{{ options.token_url }}", "secret_env": "CDP_GOOGLE_SECRET"},
    "batch_size": 10000,
    "options": {
        "account_type": {"default": "GOOGLE_ADS", "about": "Of the account."},
        "customer_id": {"required": true, "about": "The account, digits only."},
        "user_list_id": {"required": true, "about": "The customer list."},
        "login_customer_id": {"about": "The manager account that lets in, if one does."},
        "region": {"about": "Where phone numbers without a country code are from (GB)."},
        "ad_user_data": {"default": "CONSENT_GRANTED", "about": "The consent that goes with who enters."},
        "ad_personalization": {"default": "CONSENT_GRANTED", "about": "The consent that goes with who enters."},
        "token_url": {"default": "https://oauth2.googleapis.com/token", "about": "Where access tokens come from."}
    },
    "require": {"nothing that Google knows people by": "{{ any(field('email') | email | gmail, field('phone') | e164(options.region | default('')), all(field('first_name') | name, field('last_name') | name, field('country') | country, field('postal_code') | trim | unless_empty)) }}"},
    "body": {
        "destinations": [{
            "operatingAccount": {"accountType": "{{ options.account_type }}", "accountId": "{{ options.customer_id | text }}"},
            "loginAccount": {"$all": {"accountType": "{{ options.account_type }}", "accountId": "{{ options.login_customer_id | text }}"}},
            "productDestinationId": "{{ options.user_list_id | text }}"
        }],
        "audienceMembers": {"$changes": {"userData": {"userIdentifiers": [
            {"emailAddress": "{{ field('email') | email | gmail | sha256 }}"},
            {"phoneNumber": "{{ field('phone') | e164(options.region | default('')) | sha256 }}"},
            {"address": {"$all": {
                "givenName": "{{ field('first_name') | name | sha256 }}",
                "familyName": "{{ field('last_name') | name | sha256 }}",
                "regionCode": "{{ field('country') | country | upper }}",
                "postalCode": "{{ field('postal_code') | trim | unless_empty }}"
            }}}
        ]}}},
        "consent": {"adUserData": "{{ options.ad_user_data }}", "adPersonalization": "{{ options.ad_personalization }}"},
        "encoding": "HEX",
        "termsOfService": {"customerMatchTermsOfServiceStatus": "ACCEPTED"}
    },
    "success": {"when": "{{ answer.requestId }}", "errors": [{
        "in": "{{ answer.error.details[*].fieldViolations[*] }}",
        "position": "{{ item.field | after('audience_members[') | default(item.field | after('audienceMembers[')) | integer }}",
        "reason": "{{ item.reason | default('INVALID_ARGUMENT') }}: {{ item.field }} {{ item.description }}"
    }]},
    "retry": {
        "status": [401, 403, 404, 408, 409, 429, "1xx", "3xx", "5xx"],
        "after": "{{ answer.error.details[*].retryDelay | first | before('s') | number }}"
    },
    "refuse": {"reason": "{{ answer.error.status }}: {{ answer.error.message }}"},
    "deletes": {
        "url": "{{ endpoint }}/v1/audienceMembers:remove",
        "body": {
            "destinations": [{
                "operatingAccount": {"accountType": "{{ options.account_type }}", "accountId": "{{ options.customer_id | text }}"},
                "loginAccount": {"$all": {"accountType": "{{ options.account_type }}", "accountId": "{{ options.login_customer_id | text }}"}},
                "productDestinationId": "{{ options.user_list_id | text }}"
            }],
            "audienceMembers": {"$changes": {"userData": {"userIdentifiers": [
                {"emailAddress": "{{ field('email') | email | gmail | sha256 }}"},
                {"phoneNumber": "{{ field('phone') | e164(options.region | default('')) | sha256 }}"},
                {"address": {"$all": {
                    "givenName": "{{ field('first_name') | name | sha256 }}",
                    "familyName": "{{ field('last_name') | name | sha256 }}",
                    "regionCode": "{{ field('country') | country | upper }}",
                    "postalCode": "{{ field('postal_code') | trim | unless_empty }}"
                }}}
            ]}}},
            "encoding": "HEX"
        }
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "meta_custom_audiences", "shipped": true,
    "description": "A customer file audience of Meta: add, remove, hashed.",
    "endpoint": "https://graph.facebook.com",
    "url": "{{ endpoint }}/{{ options.version }}/{{ options.audience_id }}/users",
    "auth": {"type": "bearer", "secret_env": "CDP_META_TOKEN"},
    "batch_size": 10000,
    "options": {
        "audience_id": {"required": true, "about": "The audience."},
        "version": {"default": "v25.0", "about": "Of the Graph API."},
        "region": {"about": "Where phone numbers without a country code are from (GB)."}
    },
    "require": {"nothing that Meta knows people by": "{{ any(field('email') | email, field('phone') | e164(options.region | default('')), field('extern_id'), all(field('first_name') | name, field('last_name') | name)) }}"},
    "body": {"payload": {
        "schema": ["EMAIL", "PHONE", "FN", "LN", "CT", "ST", "ZIP", "COUNTRY", "GEN", "DOBY", "DOBM", "DOBD", "EXTERN_ID"],
        "data": {"$changes": [
            "{{ field('email') | email | sha256 | default('') }}",
            "{{ field('phone') | e164(options.region | default('')) | digits | sha256 | default('') }}",
            "{{ field('first_name') | name | sha256 | default('') }}",
            "{{ field('last_name') | name | sha256 | default('') }}",
            "{{ field('city') | place | sha256 | default('') }}",
            "{{ field('state') | place | sha256 | default('') }}",
            "{{ field('postal_code') | postal_code | sha256 | default('') }}",
            "{{ field('country') | country | sha256 | default('') }}",
            "{{ field('gender') | gender | sha256 | default('') }}",
            "{{ field('birth_date') | year | sha256 | default('') }}",
            "{{ field('birth_date') | month | sha256 | default('') }}",
            "{{ field('birth_date') | day | sha256 | default('') }}",
            "{{ field('extern_id') | text | default('') }}"
        ]}
    }},
    "success": {"when": "{{ answer.num_received | above(0) }}", "errors": [{
        "in": "{{ list(answer) }}",
        "where": "{{ item.num_invalid_entries | above(0) }}",
        "reason": "Meta takes {{ item.num_invalid_entries }} of {{ count }} rows as invalid: {{ item.invalid_entry_samples | json | beginning(200) }}"
    }]},
    "retry": {
        "status": [401, 403, 404, 408, 429, "1xx", "3xx", "5xx"],
        "when": "{{ any(answer.error.is_transient, answer.error.code | in(1, 2, 4, 10, 17, 32, 102, 190, 200, 294, 341, 368, 613, 80000, 80003, 80004, 80014)) }}",
        "after": "{{ parse_json(headers['x-business-use-case-usage'])[*][*].estimated_time_to_regain_access | max | times(60) }}"
    },
    "refuse": {"reason": "{{ answer.error.code }}: {{ answer.error.error_user_msg | default(answer.error.message) }}"},
    "deletes": {"method": "DELETE"}
} $json$);
