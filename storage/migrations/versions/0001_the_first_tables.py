"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql import sqltypes

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('alerts',
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('key', sqltypes.AutoString(), nullable=False),
    sa.Column('severity', sqltypes.AutoString(), nullable=False),
    sa.Column('message', sa.Text(), nullable=False),
    sa.Column('session', sa.Date(), nullable=True),
    sa.Column('at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('resolved_at', sqltypes.UTCDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_alerts'))
    )
    with op.batch_alter_table('alerts', schema=None) as batch_op:
        batch_op.create_index('uq_alerts_open', ['market', 'key'], unique=True, sqlite_where=sa.text('resolved_at IS NULL'), postgresql_where=sa.text('resolved_at IS NULL'))

    op.create_table('constituents',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('known_at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('asset', sqltypes.AutoString(), nullable=False),
    sa.Column('start_date', sa.Date(), nullable=False),
    sa.Column('end_date', sa.Date(), nullable=True),
    sa.Column('source', sqltypes.AutoString(), nullable=False),
    sa.PrimaryKeyConstraint('market', 'known_at', 'asset', 'start_date', name=op.f('pk_constituents'))
    )
    op.create_table('factors',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('id', sqltypes.AutoString(), nullable=False),
    sa.Column('expression', sa.Text(), nullable=False),
    sa.Column('origin', sqltypes.AutoString(), nullable=False),
    sa.Column('hypothesis', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('parents', sa.JSON(), nullable=False),
    sa.Column('state', sqltypes.AutoString(), nullable=False),
    sa.Column('created_session', sa.Date(), nullable=False),
    sa.Column('joined_session', sa.Date(), nullable=True),
    sa.Column('live_session', sa.Date(), nullable=True),
    sa.Column('retired_session', sa.Date(), nullable=True),
    sa.Column('baseline_start', sa.Date(), nullable=True),
    sa.Column('detail', sa.JSON(none_as_null=True), nullable=True),
    sa.CheckConstraint("origin IN ('seed', 'mined')", name=op.f('ck_factors_origin')),
    sa.CheckConstraint("state IN ('candidate', 'shadow', 'live', 'retired', 'rejected')", name=op.f('ck_factors_state')),
    sa.PrimaryKeyConstraint('market', 'id', name=op.f('pk_factors'))
    )
    with op.batch_alter_table('factors', schema=None) as batch_op:
        batch_op.create_index('ix_factors_state', ['market', 'state'], unique=False)

    op.create_table('publications',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('publish_id', sqltypes.AutoString(), nullable=False),
    sa.Column('session', sa.Date(), nullable=False),
    sa.Column('revision', sa.Integer(), nullable=False),
    sa.Column('status', sqltypes.AutoString(), nullable=False),
    sa.Column('path', sqltypes.AutoString(), nullable=False),
    sa.Column('manifest_sha256', sqltypes.AutoString(), nullable=True),
    sa.Column('reserved_at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('published_at', sqltypes.UTCDateTime(), nullable=True),
    sa.Column('status_text', sqltypes.AutoString(), nullable=True),
    sa.Column('reasons', sa.JSON(none_as_null=True), nullable=True),
    sa.CheckConstraint("status IN ('reserved', 'published')", name=op.f('ck_publications_status')),
    sa.PrimaryKeyConstraint('market', 'publish_id', name=op.f('pk_publications')),
    sa.UniqueConstraint('market', 'session', 'revision', name=op.f('uq_publications_market_session_revision'))
    )
    op.create_table('remine_jobs',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('opened_session', sa.Date(), nullable=False),
    sa.Column('trigger', sa.JSON(), nullable=False),
    sa.Column('seed', sa.BigInteger(), nullable=False),
    sa.Column('status', sqltypes.AutoString(), nullable=False),
    sa.Column('checkpoint', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('counts', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('result', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('joined_session', sa.Date(), nullable=True),
    sa.Column('opened_at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('finished_at', sqltypes.UTCDateTime(), nullable=True),
    sa.CheckConstraint("status IN ('queued', 'running', 'succeeded', 'stopped', 'failed')", name=op.f('ck_remine_jobs_status')),
    sa.PrimaryKeyConstraint('market', 'id', name=op.f('pk_remine_jobs'))
    )
    with op.batch_alter_table('remine_jobs', schema=None) as batch_op:
        batch_op.create_index('ix_remine_jobs_status', ['status'], unique=False)

    op.create_table('score_ics',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('session', sa.Date(), nullable=False),
    sa.Column('realised_session', sa.Date(), nullable=False),
    sa.Column('publish_id', sqltypes.AutoString(), nullable=False),
    sa.Column('ic', sa.Float(), nullable=True),
    sa.Column('rank_ic', sa.Float(), nullable=True),
    sa.Column('n_assets', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('market', 'session', name=op.f('pk_score_ics'))
    )
    op.create_table('stage_runs',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('stage', sqltypes.AutoString(), nullable=False),
    sa.Column('session', sa.Date(), nullable=False),
    sa.Column('revision', sa.Integer(), nullable=False),
    sa.Column('input_hash', sqltypes.AutoString(), nullable=False),
    sa.Column('status', sqltypes.AutoString(), nullable=False),
    sa.Column('cause', sqltypes.AutoString(), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('started_at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('finished_at', sqltypes.UTCDateTime(), nullable=True),
    sa.Column('detail', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('error', sa.Text(), nullable=True),
    sa.CheckConstraint("status IN ('running', 'succeeded', 'failed', 'abandoned')", name=op.f('ck_stage_runs_status')),
    sa.PrimaryKeyConstraint('market', 'stage', 'session', 'revision', name=op.f('pk_stage_runs'))
    )
    with op.batch_alter_table('stage_runs', schema=None) as batch_op:
        batch_op.create_index('ix_stage_runs_status', ['status'], unique=False)
        batch_op.create_index('uq_stage_runs_succeeded', ['market', 'stage', 'session', 'input_hash'], unique=True, sqlite_where=sa.text("status = 'succeeded'"), postgresql_where=sa.text("status = 'succeeded'"))

    op.create_table('vintages',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('source', sqltypes.AutoString(), nullable=False),
    sa.Column('known_at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('reconstructed', sa.Boolean(), nullable=False),
    sa.Column('cause', sqltypes.AutoString(), nullable=False),
    sa.Column('first_session', sa.Date(), nullable=False),
    sa.Column('last_session', sa.Date(), nullable=False),
    sa.Column('n_rows', sa.Integer(), nullable=False),
    sa.Column('n_assets', sa.Integer(), nullable=False),
    sa.Column('sha256', sqltypes.AutoString(), nullable=False),
    sa.Column('path', sqltypes.AutoString(), nullable=False),
    sa.Column('chain', sqltypes.AutoString(), nullable=False),
    sa.PrimaryKeyConstraint('market', 'number', name=op.f('pk_vintages'))
    )
    op.create_table('factor_events',
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('factor', sqltypes.AutoString(), nullable=False),
    sa.Column('session', sa.Date(), nullable=False),
    sa.Column('from_state', sqltypes.AutoString(), nullable=True),
    sa.Column('to_state', sqltypes.AutoString(), nullable=False),
    sa.Column('rule', sqltypes.AutoString(), nullable=False),
    sa.Column('evidence', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('at', sqltypes.UTCDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['market', 'factor'], ['factors.market', 'factors.id'], name=op.f('fk_factor_events_factors')),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_factor_events'))
    )
    with op.batch_alter_table('factor_events', schema=None) as batch_op:
        batch_op.create_index('ix_factor_events_factor', ['market', 'factor'], unique=False)

    op.create_table('factor_ics',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('factor', sqltypes.AutoString(), nullable=False),
    sa.Column('session', sa.Date(), nullable=False),
    sa.Column('realised_session', sa.Date(), nullable=False),
    sa.Column('ic', sa.Float(), nullable=True),
    sa.Column('rank_ic', sa.Float(), nullable=True),
    sa.Column('n_assets', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['market', 'factor'], ['factors.market', 'factors.id'], name=op.f('fk_factor_ics_factors')),
    sa.PrimaryKeyConstraint('market', 'factor', 'session', name=op.f('pk_factor_ics'))
    )
    op.create_table('monitor_states',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('factor', sqltypes.AutoString(), nullable=False),
    sa.Column('session', sa.Date(), nullable=False),
    sa.Column('verdict', sqltypes.AutoString(), nullable=False),
    sa.Column('evidence', sa.Float(), nullable=False),
    sa.Column('threshold', sa.Float(), nullable=False),
    sa.Column('state', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['market', 'factor'], ['factors.market', 'factors.id'], name=op.f('fk_monitor_states_factors')),
    sa.PrimaryKeyConstraint('market', 'factor', 'session', name=op.f('pk_monitor_states'))
    )
    op.create_table('trials',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('job', sa.Integer(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('expression', sa.Text(), nullable=False),
    sa.Column('decision', sqltypes.AutoString(), nullable=False),
    sa.Column('detail', sa.JSON(none_as_null=True), nullable=True),
    sa.ForeignKeyConstraint(['market', 'job'], ['remine_jobs.market', 'remine_jobs.id'], name=op.f('fk_trials_remine_jobs')),
    sa.PrimaryKeyConstraint('market', 'job', 'number', name=op.f('pk_trials'))
    )
    op.create_table('verdict_events',
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('factor', sqltypes.AutoString(), nullable=False),
    sa.Column('session', sa.Date(), nullable=False),
    sa.Column('from_verdict', sqltypes.AutoString(), nullable=True),
    sa.Column('to_verdict', sqltypes.AutoString(), nullable=False),
    sa.Column('evidence', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('at', sqltypes.UTCDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['market', 'factor'], ['factors.market', 'factors.id'], name=op.f('fk_verdict_events_factors')),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_verdict_events'))
    )
    with op.batch_alter_table('verdict_events', schema=None) as batch_op:
        batch_op.create_index('ix_verdict_events_factor', ['market', 'factor'], unique=False)


