# A CRM, both ways: profiles and segments go out by subscription; stage, owner, cases come back by another and
# attach_table, keep people with an open case out of marketing, and who owns a field wins. Nobody echoes for ever.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($cdp, $crm) = map { PostgreSQL::Test::Cluster->new($_) } 'cdp', 'crm';
for my $node ($cdp, $crm)
{
	$node->init(allows_streaming => 'logical');
	$node->start;
}
sub cdp { return $cdp->safe_psql('postgres', shift) }
sub crm { return $crm->safe_psql('postgres', shift) }

# The CRM: contacts and cases of its own, and what it gets of people. What it gets it copies to its contacts, as a CRM
# that knows no better does: whatever came, and always as a change of now.
my $tables = q{
CREATE SCHEMA crm;
CREATE TABLE crm.contact (contact_id int PRIMARY KEY, email text, stage text, owner text, company text, city text, phone text, changed_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE crm."case" (case_id int PRIMARY KEY, email text, status text, changed_at timestamptz NOT NULL DEFAULT clock_timestamp());
};
crm($tables . q{
CREATE SCHEMA cdp_out;
CREATE TABLE cdp_out.crm (email text PRIMARY KEY, orders bigint, company text, city text, segments text[]);
CREATE TABLE cdp_out.newsletter (email text PRIMARY KEY);
CREATE FUNCTION copy_to_contact() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN UPDATE crm.contact SET company = NEW.company, city = NEW.city, changed_at = clock_timestamp() WHERE email = NEW.email; RETURN NULL; END$$;
CREATE TRIGGER copy_to_contact AFTER INSERT OR UPDATE ON cdp_out.crm FOR EACH ROW EXECUTE FUNCTION copy_to_contact();
ALTER TABLE cdp_out.crm ENABLE ALWAYS TRIGGER copy_to_contact;
INSERT INTO crm.contact VALUES (1, 'ann@x.org', 'lead', 'Olga', 'Ann Ltd', 'Bonn', '1'), (2, 'bob@x.org', 'customer', 'Otto', NULL, NULL, NULL);
INSERT INTO crm."case" VALUES (1, 'bob@x.org', 'open');
CREATE PUBLICATION crm_out FOR TABLE crm.contact, crm."case";
});
cdp($tables . q{
CREATE EXTENSION cdp;
SELECT cdp.create_trait('company', 'text'), cdp.create_trait('city', 'text'), cdp.create_trait('stage', 'text'), cdp.create_trait('account_owner', 'text', 'owner');
SELECT cdp.create_computed_trait('orders', 'count', 'Order');
SELECT cdp.create_computed_trait('cases_opened', 'distinct_count', 'Case', 'case_id', $$properties ->> 'status' = 'open'$$);
SELECT cdp.create_computed_trait('cases_closed', 'distinct_count', 'Case', 'case_id', $$properties ->> 'status' = 'closed'$$);
SELECT cdp.create_segment('open case', 'cases_opened > cases_closed');
SELECT cdp.create_segment('marketing', $$orders > 0 AND NOT cdp.in_segment('open case')$$);
SELECT cdp.create_segment('customers', $$stage = 'customer'$$);
SELECT cdp.create_segment('live case', $$EXISTS (SELECT FROM crm."case" c JOIN cdp.identifier i ON i.type = 'email' AND i.value = c.email WHERE i.profile_id = profile.profile_id AND c.status = 'open')$$);
SELECT cdp.create_segment('owned', $$(SELECT max(c.owner) FROM crm.contact c JOIN cdp.identifier i ON i.value = c.email WHERE i.profile_id = profile.profile_id) = account_owner$$);
SELECT cdp.create_destination('crm', key => 'email', columns => '{"orders": "orders", "company": "company", "city": "city", "segments": "cdp.segment_names()"}');
SELECT cdp.create_destination('newsletter', 'marketing', 'email', '{}');
SELECT cdp.attach_table('crm.contact', NULL, '{"email": "email"}', 'changed_at', '{stage, owner, company, city}', type => 'identify', updates => true);
SELECT cdp.attach_table('crm."case"', 'Case', '{"email": "email"}', 'changed_at', updates => true);
SELECT cdp.set_field_owner('company', 'crm', 'crm.contact'), cdp.set_field_owner('city', 'cdp', 'crm.contact');
SELECT cdp.identify('ann', '{"email": "ann@x.org", "company": "Anns", "city": "Ulm"}'), cdp.identify('bob', '{"email": "bob@x.org", "company": "Bobs"}');
SELECT cdp.track('Order', u) FROM unnest('{ann,bob}'::text[]) u;
SELECT cdp.process();
});

# What the CRM says comes first, lest what is sent to it is all that it says.
$cdp->safe_psql('postgres', "CREATE SUBSCRIPTION from_crm CONNECTION '" . $crm->connstr . " dbname=postgres' PUBLICATION crm_out");
$cdp->wait_for_subscription_sync($crm, 'from_crm');
cdp('SELECT cdp.process()');
$crm->safe_psql('postgres', "CREATE SUBSCRIPTION from_cdp CONNECTION '" . $cdp->connstr . " dbname=postgres' PUBLICATION cdp_crm, cdp_newsletter");
$crm->wait_for_subscription_sync($cdp, 'from_cdp');

# Who is in the segments over the CRM's tables, as the subscription fills them.
sub live { return cdp(q{SELECT s.name, i.value FROM cdp.segment s JOIN cdp.segment_member USING (segment_id) JOIN cdp.identifier i USING (profile_id)
	WHERE s.name IN ('live case', 'owned') AND i.type = 'user_id' ORDER BY 1, 2}) }

# Lets everything go round until nothing moves any more; how many times something did.
sub settle
{
	for my $round (0 .. 20)
	{
		$cdp->wait_for_catchup('from_cdp');
		$crm->wait_for_catchup('from_crm');
		my $taken = cdp('SELECT cdp.process()');
		return $round if $taken == 0 && $round > 0 && crm('SELECT count(*), max(changed_at) FROM crm.contact') eq cdp('SELECT count(*), max(changed_at) FROM crm.contact');
	}
	return 'for ever';
}
my $contacts = 'SELECT email, company, city FROM crm.contact ORDER BY 1';
my $sent = 'SELECT email, orders, company, city, segments FROM cdp_out.crm ORDER BY 1';

isnt(settle(), 'for ever', 'after the first copies it comes to rest');
is(cdp(q{SELECT stage, account_owner FROM cdp.profile WHERE profile_id = cdp.resolve('user_id', 'ann')}), 'lead|Olga', 'stage and owner come back with the first copy');
is(crm($sent), "ann\@x.org|1|Ann Ltd|Ulm|{marketing,owned}\nbob\@x.org|1|Bobs||{customers,\"live case\",\"open case\",owned}", 'the CRM has profiles and segments; each field is its owner\'s');
is(crm($contacts), "ann\@x.org|Ann Ltd|Ulm\nbob\@x.org|Bobs|", 'and the contacts say the same');
is(live(), "live case|bob\nowned|ann\nowned|bob", 'what the first copy brought is followed');
is(crm('SELECT email FROM cdp_out.newsletter'), 'ann@x.org', 'who has an open case is out of marketing');

# A case is closed, another opened.
crm(q{UPDATE crm."case" SET status = 'closed', changed_at = clock_timestamp() WHERE case_id = 1; INSERT INTO crm."case" VALUES (2, 'ann@x.org', 'open')});
isnt(settle(), 'for ever', 'cases come to rest');
is(live(), "live case|ann\nowned|ann\nowned|bob", 'what the subscription applies is followed');
is(crm('SELECT email FROM cdp_out.newsletter'), 'bob@x.org', 'a closed case lets in, an open one keeps out');
is(cdp(q{SELECT count(*) FROM cdp.event WHERE event = 'Case'}), '3', 'each change of a case is one event');

# Who owns a field wins, whoever spoke last; the loser's value is kept.
cdp(q{SELECT cdp.identify('ann', '{"company": "Ann and Sons", "city": "Trier"}')});
isnt(settle(), 'for ever', 'a change by the CDP comes to rest');
is(crm($contacts), "ann\@x.org|Ann Ltd|Trier\nbob\@x.org|Bobs|", 'its city goes out, its company does not');
crm(q{UPDATE crm.contact SET company = 'Ann plc', changed_at = clock_timestamp() WHERE contact_id = 1});
isnt(settle(), 'for ever', 'a change by the CRM comes to rest');
crm(q{UPDATE crm.contact SET city = 'Kiel', changed_at = clock_timestamp() WHERE contact_id = 1});
isnt(settle(), 'for ever', 'one that is not the CRM\'s to make, too');
is(cdp(q{SELECT company, city FROM cdp.profile WHERE profile_id = cdp.resolve('user_id', 'ann')}), 'Ann plc|Trier', 'the CRM\'s company holds, its city does not');
is(cdp(q{SELECT source, said, wins FROM cdp.explain_field('user_id', 'ann', 'company')}), "crm.contact|\"Ann plc\"|t\ndefault|\"Ann and Sons\"|f", 'both are kept');
is(cdp(q{SELECT source, said, wins FROM cdp.explain_field('user_id', 'ann', 'city')}), "default|\"Trier\"|t\ncrm.contact|\"Kiel\"|f", 'both are kept');

# Ownership changes hands.
cdp(q{SELECT cdp.set_field_owner('city', 'crm', 'crm.contact')});
isnt(settle(), 'for ever', 'another owner comes to rest');
is(crm($contacts), "ann\@x.org|Ann plc|Kiel\nbob\@x.org|Bobs|", 'the other value holds');
cdp(q{SELECT cdp.set_field_owner('city', NULL)});
is(cdp(q{SELECT aggregate, sources FROM cdp.trait WHERE name = 'city'}), 'last|', 'no owner: the last word');

# Nothing moves any more, and an update that changes nothing sends nothing.
settle();
my $events = cdp('SELECT count(*) FROM cdp.event');
crm('UPDATE crm.contact SET stage = stage; UPDATE crm."case" SET status = status');
settle();
is(cdp('SELECT count(*) FROM cdp.event'), $events, 'an update that changes nothing sends nothing');
is(cdp('SELECT sum(differing) FROM cdp.rebuild()'), '0', 'rebuild() finds nothing');
is(cdp('SELECT count(*) FROM cdp.rejected_message'), '0', 'nothing was rejected');

crm('DELETE FROM crm."case" WHERE case_id = 1; UPDATE crm."case" SET email = \'bob@x.org\'');
settle();
is(live(), "live case|bob\nowned|ann\nowned|bob", 'updates and deletes, too');
crm('TRUNCATE crm."case"');
settle();
is(live(), "owned|ann\nowned|bob", 'and TRUNCATE');
is(cdp('SELECT sum(differing) FROM cdp.rebuild()'), '0', 'rebuild() finds nothing');
cdp(q{SELECT cdp.drop_segment('live case'), cdp.drop_segment('owned')});
cdp('DROP SUBSCRIPTION from_crm');
crm('DROP SUBSCRIPTION from_cdp');
is(cdp(q{SELECT cdp.detach_table('crm.contact')}), 't', 'it is detached');
is(cdp(q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'crm.contact'::regclass}), '0', 'entirely');
$_->stop for $cdp, $crm;
done_testing();
