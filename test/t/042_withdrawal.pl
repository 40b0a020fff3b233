# Who withdraws, or is suppressed, is deleted at the subscriber, by the transaction that recorded it; who is in a
# subscriber's table consents, at every moment, however people merge and come apart.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cdp = PostgreSQL::Test::Cluster->new('cdp');
$cdp->init(allows_streaming => 'logical');
$cdp->start;
my $mailer = PostgreSQL::Test::Cluster->new('mailer');
$mailer->init;
$mailer->start;

sub sql { return $cdp->safe_psql('postgres', shift) }
sub told
{
	$cdp->wait_for_catchup('mailer');
	return $mailer->safe_psql('postgres', q{WITH all_of_it AS (DELETE FROM told RETURNING op, email) SELECT op || ' ' || email FROM all_of_it ORDER BY email, op});
}
sub has { $cdp->wait_for_catchup('mailer'); return $mailer->safe_psql('postgres', 'SELECT email FROM cdp_out.letter ORDER BY 1') }

sql(q{
CREATE EXTENSION cdp;
SELECT cdp.create_purpose('letter');
SELECT cdp.create_destination('letter', key => 'email', columns => '{"name": "traits ->> ''name''"}', purpose => 'letter');
SELECT cdp.identify(u, jsonb_build_object('email', u || '@x.org', 'name', u)) FROM unnest('{ann,bob,cid,dan,eve}'::text[]) u;
SELECT cdp.set_consent('email', u || '@x.org', 'letter', true, occurred_at => '2024-01-01') FROM unnest('{ann,bob,cid,dan}'::text[]) u;
SELECT cdp.process();
-- Which transaction deleted whom: now() is its own.
CREATE TABLE deleted (email text, at timestamptz);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS
	$$BEGIN INSERT INTO deleted VALUES (OLD.email, now()); RETURN NULL; END$$;
CREATE TRIGGER note AFTER DELETE ON cdp_out.letter FOR EACH ROW EXECUTE FUNCTION note();
});
$mailer->safe_psql('postgres', q{
CREATE SCHEMA cdp_out;
CREATE TABLE cdp_out.letter (email text PRIMARY KEY, name text);
CREATE TABLE told (op text, email text);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql SET search_path = public
	AS 'BEGIN INSERT INTO told VALUES (TG_OP, coalesce(NEW.email, OLD.email)); RETURN NULL; END';
});
my $connection = $cdp->connstr . ' dbname=postgres';
$mailer->safe_psql('postgres', "CREATE SUBSCRIPTION mailer CONNECTION '$connection' PUBLICATION cdp_letter");
$mailer->wait_for_subscription_sync($cdp, 'mailer');
$mailer->safe_psql('postgres', q{
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON cdp_out.letter FOR EACH ROW EXECUTE FUNCTION tell();
ALTER TABLE cdp_out.letter ENABLE ALWAYS TRIGGER tell;
});
is(has(), join("\n", map { "$_\@x.org" } qw(ann bob cid dan)), 'the first copy is who consents');

# By SQL
sql(q{BEGIN; SELECT cdp.set_consent('email', 'ann@x.org', 'letter', false); ROLLBACK});
is(told(), '', 'a withdrawal that is rolled back is none');
sql(q{SELECT cdp.set_consent('user_id', 'ann', 'letter', false, source => 'phone')});
is(told(), 'DELETE ann@x.org', 'a withdrawal is a DELETE at the subscriber');
is(sql(q{SELECT count(*) FROM deleted d JOIN cdp.consent_record r ON r.recorded_at = d.at WHERE d.email = 'ann@x.org' AND NOT r.granted}), '1',
	'by the transaction that recorded it');
sql(q{SELECT cdp.set_consent('email', 'eve@x.org', 'letter', true)});
is(told(), 'INSERT eve@x.org', 'a yes is an INSERT');

# By a message, in a batch with changes of others, and of the same person
sql(q{
SELECT cdp.track('Unsubscribed', 'bob', context => '{"consent": {"categoryPreferences": {"letter": false}}}', message_id => 'm1');
SELECT cdp.identify('bob', '{"name": "Robert"}', message_id => 'm2');
SELECT cdp.identify('cid', '{"name": "Cid"}', message_id => 'm3');
SELECT cdp.process()});
is(told(), "DELETE bob\@x.org\nUPDATE cid\@x.org", 'a withdrawal by message: nothing else is told of who withdrew');
is(sql(q{SELECT count(*) FROM deleted d JOIN cdp.consent_record r ON r.recorded_at = d.at WHERE d.email = 'bob@x.org'}), '1', 'by the transaction that recorded it, too');

# People who become one, and come apart
sql(q{SELECT cdp.merge_profiles(cdp.resolve('user_id', 'ann'), cdp.resolve('user_id', 'cid'), 'a mistake')});
is(told(), 'DELETE cid@x.org', 'who becomes one with somebody who withdrew later is out');
sql(q{SELECT cdp.split_identifier('user_id', 'ann', 'a mistake')});
like(sql(q{SELECT cdp.get_profile('user_id', 'cid') -> 'consents'}), qr/"granted": true/, 'taken apart, each has what they said themselves');
told();

# Suppression
sql(q{SELECT cdp.suppress('user_id', 'dan', 'complained')});
is(told(), 'DELETE dan@x.org', 'a suppression by any identifier is a DELETE under the key');
sql(q{SELECT cdp.suppress('email', 'fay@x.org', 'bounced'), cdp.set_consent('email', 'fay@x.org', 'letter', true); SELECT cdp.identify('fay', '{"email": "fay@x.org"}'); SELECT cdp.process()});
is(told(), '', 'who is suppressed before they come never appears');
sql(q{SELECT cdp.unsuppress('email', 'fay@x.org')});
is(told(), 'INSERT fay@x.org', 'until that is taken back');

is(has(), sql('SELECT email FROM cdp_out.letter ORDER BY 1'), 'the subscriber has what the destination has');
is(sql(q{SELECT count(*) FROM cdp_out.letter l JOIN cdp.identifier i ON i.type = 'email' AND i.value = l.email
	WHERE NOT coalesce((SELECT c.granted FROM cdp.consent c WHERE c.profile_id = i.profile_id AND c.purpose = 'letter' AND c.channel IS NULL), false)}), '0', 'and each of them consents');
is(sql(q{SELECT cdp.suppressed_count('letter') + (SELECT count(*) FROM cdp_out.letter) = (SELECT count(DISTINCT profile_id) FROM cdp.identifier WHERE type = 'email')}), 't',
	'who is not in it is counted');
is(sql('SELECT sum(differing) FROM cdp.rebuild()'), '0', 'rebuild() finds nothing');

$mailer->safe_psql('postgres', 'DROP SUBSCRIPTION mailer');
$_->stop for $cdp, $mailer;
done_testing();
