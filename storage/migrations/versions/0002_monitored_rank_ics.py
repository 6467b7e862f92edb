"""Monitored RankICs, and the states of the book-level test."""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql import sqltypes

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('book_states',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('session', sa.Date(), nullable=False),
    sa.Column('verdict', sqltypes.AutoString(), nullable=False),
    sa.Column('evidence', sa.Float(), nullable=False),
    sa.Column('threshold', sa.Float(), nullable=False),
    sa.Column('state', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('market', 'session', name=op.f('pk_book_states'))
    )
    op.create_table('monitored_ics',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('factor', sqltypes.AutoString(), nullable=False),
    sa.Column('session', sa.Date(), nullable=False),
    sa.Column('realised_session', sa.Date(), nullable=False),
    sa.Column('rank_ic', sa.Float(), nullable=True),
    sa.ForeignKeyConstraint(['market', 'factor'], ['factors.market', 'factors.id'], name=op.f('fk_monitored_ics_factors')),
    sa.PrimaryKeyConstraint('market', 'factor', 'session', name=op.f('pk_monitored_ics'))
    )
