"""Lives of the daemon, controls of markets, and the outbox of notifications."""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql import sqltypes

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('epochs',
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('instance', sqltypes.AutoString(), nullable=False),
    sa.Column('host', sqltypes.AutoString(), nullable=False),
    sa.Column('pid', sa.Integer(), nullable=False),
    sa.Column('state_dir', sqltypes.AutoString(), nullable=False),
    sa.Column('version', sqltypes.AutoString(), nullable=False),
    sa.Column('started_at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('renewed_at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('ended_at', sqltypes.UTCDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_epochs'))
    )
    op.create_table('market_controls',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('state', sqltypes.AutoString(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('who', sqltypes.AutoString(), nullable=False),
    sa.Column('at', sqltypes.UTCDateTime(), nullable=False),
    sa.CheckConstraint("state IN ('running', 'paused', 'halted')", name=op.f('ck_market_controls_state')),
    sa.PrimaryKeyConstraint('market', name=op.f('pk_market_controls'))
    )
    op.create_table('notifications',
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('key', sqltypes.AutoString(), nullable=False),
    sa.Column('kind', sqltypes.AutoString(), nullable=False),
    sa.Column('severity', sqltypes.AutoString(), nullable=False),
    sa.Column('message', sa.Text(), nullable=False),
    sa.Column('channel', sqltypes.AutoString(), nullable=False),
    sa.Column('dedupe_key', sqltypes.AutoString(), nullable=False),
    sa.Column('created_at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('next_attempt_at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('sent_at', sqltypes.UTCDateTime(), nullable=True),
    sa.Column('given_up_at', sqltypes.UTCDateTime(), nullable=True),
    sa.Column('error', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_notifications')),
    sa.UniqueConstraint('dedupe_key', 'channel', name=op.f('uq_notifications_dedupe_key_channel'))
    )
    with op.batch_alter_table('notifications', schema=None) as batch_op:
        batch_op.create_index('ix_notifications_due', ['sent_at', 'given_up_at', 'next_attempt_at'], unique=False)
