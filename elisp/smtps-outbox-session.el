;;; smtps-outbox-session.el --- Go on by hand where a mail failed  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; From the outbox, a session with the server of a mail that failed.  smtps
;; does again what succeeded then: it greets, starts TLS, logs in, and names
;; the sender and whom the server took.  The line that failed stands at the
;; prompt, and the message is at hand for what sends one.
;;
;; At which step it failed is read off the dialogue that the journal keeps.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'smtps-outbox)
(require 'smtps-outbox-ui)
(require 'smtps-session)
(require 'smtps-session-lead)

;;; The step

(defun smtps-outbox-session--exchanges (transcript)
  "Return what was said in TRANSCRIPT, as lists (COMMAND CODE REPLY).
The greeting's COMMAND is `greeting', the message's `message'; CODE and
REPLY, its last line, are nil for what was not answered.  Over a connection
that was open already there was no greeting."
  (let ((owed (and (not (string-match-p "\\`[0-9]+ send> " transcript))
                   (list 'greeting)))
        exchanges)
    (dolist (line (split-string transcript "\n" t))
      (cond
       ((string-match "\\`[0-9]+ send> \\(.*\\)\\'" line)
        (setq owed (append owed (list (match-string 1 line)))))
       ((string-match "\\`[0-9]+ recv> \\(\\([2-5][0-9][0-9]\\)\\(?: .*\\)?\\)\\'" line)
        (let ((command (or (pop owed) 'message)))
          (push (list command (string-to-number (match-string 2 line))
                      (match-string 1 line))
                exchanges)))))
    (append (nreverse exchanges) (mapcar #'list owed))))

(defun smtps-outbox-session--kind (command)
  "Return the step that COMMAND belongs to, a symbol."
  (let ((case-fold-search t))
    (cond ((symbolp command) command)
          ((string-match-p "\\`\\(?:EHLO\\|HELO\\) " command) 'hello)
          ((string-match-p "\\`STARTTLS\\'" command) 'starttls)
          ((string-match-p "\\`MAIL " command) 'mail)
          ((string-match-p "\\`RCPT " command) 'rcpt)
          ((string-match-p "\\`\\(?:DATA\\'\\|BDAT \\)" command) 'data)
          ((string-match-p "\\`\\(?:RSET\\|NOOP\\|QUIT\\)\\'" command) 'other)
          (t 'login))))

(defun smtps-outbox-session--failed (exchanges)
  "Return the one of EXCHANGES at which a mail failed, or nil.
A login that came to nothing: behind it, in the same flight, all is refused.
Else the first refusal of the mail itself, or the last of what came before,
since there several ways are tried; or what was not answered."
  (let* ((refused (cl-remove-if-not (lambda (exchange) (>= (or (cadr exchange) 0) 400))
                                    exchanges))
         (of-kind (lambda (&rest kinds)
                    (cl-remove-if-not
                     (lambda (exchange)
                       (memq (smtps-outbox-session--kind (car exchange)) kinds))
                     refused))))
    (or (and (not (cl-find 235 exchanges :key #'cadr))
             (car (last (funcall of-kind 'login))))
        (car (funcall of-kind 'mail 'rcpt 'data 'message))
        (car (last refused))
        (cl-find-if-not #'cadr exchanges))))

(defun smtps-outbox-session--of-kind (kind exchanges)
  "Return the commands of KIND among EXCHANGES."
  (cl-loop for (command) in exchanges
           when (eq (smtps-outbox-session--kind command) kind) collect command))

(defun smtps-outbox-session--step (entry exchanges failed)
  "Return the step at which ENTRY failed, nil if no server was heard.
EXCHANGES were made, of which FAILED is the one that failed, or nil.  It is
`unsaid' where smtps itself did not hand the mail to this server."
  (let ((account (plist-get entry :account)))
    (pcase (plist-get (plist-get entry :outcome) :verdict)
      ('unsendable 'unsaid)
      ((guard failed) (smtps-outbox-session--kind (car failed)))
      ((and 'login (guard (cl-some #'cadr exchanges)))
       (if (and (eq (plist-get account :tls) 'starttls)
                (not (smtps-outbox-session--of-kind 'starttls exchanges)))
           'starttls
         'login)))))

(defun smtps-outbox-session--login (kind exchanges)
  "Return whether smtps is to log in before the step KIND: t, nil or `perhaps'.
EXCHANGES tell whether somebody did then, unless they end before that, or
the connection was open already."
  (cond ((memq kind '(nil greeting hello starttls login)) nil)
        ((smtps-outbox-session--of-kind 'login exchanges) t)
        ((or (eq kind 'unsaid) (not (eq (caar exchanges) 'greeting))) 'perhaps)))

(defun smtps-outbox-session--plan (entry journal)
  "Return how to go on with ENTRY, in whose JOURNAL stands what was tried.
A plist: `:entry', which is ENTRY; `:kind', the step at which it failed, or
nil if no server was heard; `:login', non-nil if somebody logged in before
that; `:say', lines to be said first; `:prompt', lines for the prompt."
  (let* ((transcript (plist-get (smtps-outbox--form 'transcript (reverse journal))
                                :text))
         (exchanges (and transcript (smtps-outbox-session--exchanges transcript)))
         (failed (smtps-outbox-session--failed exchanges))
         (kind (smtps-outbox-session--step entry exchanges failed))
         (of-kind (lambda (kind) (smtps-outbox-session--of-kind kind exchanges)))
         (mail (or (car (last (funcall of-kind 'mail)))
                   (format "MAIL FROM:<%s>" (plist-get entry :from))))
         (named (cl-loop for address in (smtps-outbox-left entry)
                         collect
                         (or (cl-find-if (lambda (line)
                                           (string-search (format "<%s>" address) line))
                                         (funcall of-kind 'rcpt))
                             (format "RCPT TO:<%s>" address))))
         (refused (cl-loop for (command code) in exchanges
                           when (>= (or code 0) 400) collect command)))
    (append
     (list :entry entry :kind kind
           :login (smtps-outbox-session--login kind exchanges))
     (pcase kind
       ('hello (list :prompt (list (car failed))))
       ('starttls (list :prompt (list "STARTTLS")))
       ('login
        (list :prompt
              (list (string-join
                     (seq-take (split-string
                                (or (cl-find-if
                                     (lambda (line) (string-match-p "\\`AUTH " line))
                                     (reverse (funcall of-kind 'login)))
                                    "AUTH LOGIN"))
                               2)
                     " "))))
       ('mail (list :prompt (list mail)))
       ('rcpt (list :say (cons mail (cl-set-difference named refused :test #'equal))
                    :prompt (cl-intersection named refused :test #'equal)))
       ((or 'data 'message) (list :say (cons mail named) :prompt (list "DATA")))))))

;;; The session

(defconst smtps-outbox-session--hints
  '((unsaid . "Here smtps itself refused it, and did not ask the server.  RET asks it; \
behind RCPT, C-c C-f sends the message.")
    (hello . "RET greets so again; C-c C-e has smtps do it.")
    (starttls . "RET asks for TLS again; C-c C-s has smtps do all of it.")
    (login . "C-c C-a logs in, with what auth-source has or you type; C-c C-t then \
sends the mail.")
    (mail . "RET names the sender again, as it stands or changed; C-c C-t sends all of it.")
    (rcpt . "RET names the recipient again, as it stands or changed; C-c C-f then \
sends the message.")
    (data . "C-c C-f sends the message, with DATA before it.")
    (message . "C-c C-f sends the message, with DATA before it."))
  "What to do next at each step.")

(defun smtps-outbox-session--tell (entry)
  "Say in the session of this buffer what became of ENTRY, and what that means."
  (let* ((text (plist-get (plist-get entry :outcome) :text))
         (explained (cl-loop for fate in (smtps-outbox-fates entry)
                             thereis (smtps-outbox-ui--explain-fate entry (cdr fate))))
         (info (lambda (string)
                 (smtps-session--insert (concat "- " string) 'smtps-session-info))))
    (when text
      (smtps-session--insert (concat "! " (smtps-send--line text))
                             'smtps-session-refusal))
    (when explained
      (funcall info (smtps-send--line (plist-get explained :short)))
      (funcall info (concat "Next: " (smtps-send--line (plist-get explained :next)))))))

(defun smtps-outbox-session--octets (entry)
  "Return how many octets the message of ENTRY has on the wire."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (insert-file-contents-literally (concat (plist-get entry :directory) "/message.eml"))
    (let ((from (point-min)))
      (+ (buffer-size) (how-many "\n" from) (- (how-many "\r\n" from))))))

(defun smtps-outbox-session--mail (entry)
  "Return the MAIL command of ENTRY, with the parameters that matter here."
  (string-join
   (delq nil
         (list (format "MAIL FROM:<%s>" (plist-get entry :from))
               ;; So that it says itself what is too much (RFC 1870).
               (and (seq-find (lambda (offer) (string-match-p "\\`SIZE\\>" offer))
                              smtps-session-offers)
                    (format "SIZE=%d" (smtps-outbox-session--octets entry)))
               (and (cl-some (lambda (address) (string-match-p "[^[:ascii:]]" address))
                             (cons (plist-get entry :from) (smtps-outbox-left entry)))
                    "SMTPUTF8")))
   " "))

(defun smtps-outbox-session--arrived (plan)
  "Leave the session to its user, at the step of PLAN where the mail failed."
  (smtps-outbox-session--tell (plist-get plan :entry))
  (let ((prompt (string-join (or (plist-get plan :prompt)
                                 (list (smtps-outbox-session--mail
                                        (plist-get plan :entry))))
                             "\n")))
    (smtps-session--insert
     (concat "- " (if (eq (plist-get plan :kind) 'unsaid) "" "Here it failed.  ")
             (cdr (assq (plist-get plan :kind) smtps-outbox-session--hints)))
     'smtps-session-info)
    (smtps-session--insert
     "- Once it has arrived, m in the outbox notes that: it is not sent again then"
     'smtps-session-info)
    (when (= (smtps-session--mark) (point-max))
      (goto-char (point-max))
      (insert prompt))))

(defun smtps-outbox-session--go-on (plan account)
  "Do again what succeeded for a mail of ACCOUNT, according to PLAN."
  (let ((kind (plist-get plan :kind)))
    (pcase kind
      ;; No server was heard, or it wanted none: there is nothing to do again.
      ((or 'nil 'greeting) (smtps-outbox-session--tell (plist-get plan :entry)))
      ('hello (smtps-outbox-session--arrived plan))
      (_
       (smtps-session-lead--call
        'session-greet
        (and (eq (plist-get account :tls) 'starttls)
             (not (eq kind 'starttls))
             '(:starttls t))
        :then (lambda (value)
                (when (plist-get value :done)
                  (if (plist-get plan :login)
                      (smtps-session-lead--log-in
                       account (plist-get account :user) nil
                       :then (lambda (value)
                               (when (plist-get value :done)
                                 (smtps-outbox-session--say plan))))
                    (smtps-outbox-session--say plan)))))))))

(defun smtps-outbox-session--say (plan)
  "Say the lines that PLAN has, and leave the rest to the user."
  (when (smtps-session--open-p)
    (smtps-session--type (plist-get plan :say))
    (smtps-session-lead--when-answered
     (lambda () (smtps-outbox-session--arrived plan)))))

(defun smtps-outbox-session--account (entry plan)
  "Return the account of ENTRY, with its `:user'.
See that its password is at hand if PLAN has smtps log in; where that is
`perhaps' and there is none, it does not."
  (let* ((account (copy-sequence (plist-get entry :account)))
         (from (plist-get entry :from)))
    (when (plist-get plan :login)
      (let ((needed (eq (plist-get plan :login) t)))
        (cond
         ((smtps-send--door (smtps-credentials-fetch account :from from :ask needed))
          (setq account (plist-put account :user
                                   (or (smtps-credentials-login account from)
                                       (plist-get account :user))))
          (smtps-credentials-fetch account :ask t))
         ((or needed (plist-get account :user))
          (user-error "No password, no login: the session was not opened"))
         (t (plist-put plan :login nil)))))
    account))

;;;###autoload
(defun smtps-outbox-session ()
  "Go on by hand with the mail at point, in a session, at the step where it failed.
What succeeded then is done again; the line that failed stands at the
prompt, and \\<smtps-session-mode-map>\\[smtps-session-send-message] sends the message."
  (interactive)
  (let* ((entry (smtps-outbox-ui--chosen 'failed 'undecided 'held 'uncertain))
         (journal (smtps-outbox-journal entry))
         (plan (smtps-outbox-session--plan entry journal))
         (account (smtps-outbox-session--account entry plan))
         (file (concat (plist-get entry :directory) "/message.eml")))
    (when (smtps-outbox-uncertain-p entry)
      (smtps-outbox-ui--can-ask-p
       "Nobody knows whether this mail has arrived; sent by hand, it may come twice.  Go on? "))
    (with-current-buffer (smtps-session-open
                          (cl-loop for key in '(:host :port :tls :ca-file
                                                :client-certificate :client-key
                                                :send-in-clear)
                                   append (list key (plist-get account key)))
                          (lambda () (smtps-outbox-session--go-on plan account)))
      (setq smtps-session-lead-message
            (list file :from (plist-get entry :from)
                  :recipients (smtps-outbox-left entry)))
      (smtps-session--insert
       (let ((subject (smtps-send--subject (plist-get entry :directory))))
         (format "- From the outbox: %s"
                 (if subject (format "“%s”" subject) "a mail without a subject")))
       'smtps-session-info)
      (current-buffer))))

(provide 'smtps-outbox-session)
;;; smtps-outbox-session.el ends here
